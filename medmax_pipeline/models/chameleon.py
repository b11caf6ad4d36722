"""The mixed-modal transformer: transformers' Chameleon with logits over the whole vocabulary.

Stock `ChameleonForConditionalGeneration.forward` sets the logits of all image codes to the type's minimum, before its
loss: a picture can then neither be learned nor sampled. Here nothing is masked; which ids may come next is decided by
whoever generates (`generate.py`). The objective's weighting is `training/`; attention within packs is `attention.py`.

T tokens of a pack, D documents, L labelled positions, V vocabulary, C hidden size.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import ChameleonConfig, ChameleonForConditionalGeneration, GenerationConfig
from transformers.modeling_outputs import CausalLMOutputWithPast

from medmax_pipeline.errors import ConfigError, TokenError, WeightsError
from medmax_pipeline.files import read_json, write_json
from medmax_pipeline.models.attention import DOCUMENTS, Documents
from medmax_pipeline.models.head import token_losses
from medmax_pipeline.models.transformers_folder import bars_for_people, write_companions
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.models.weights import CONFIG, NAMES_SHOWN, publish_weights, read_config, weights_written

BOS, PAD, EOS = "<s>", "<pad>", "</s>"
PLACEHOLDER = "<image>"
TOKENIZER = "tokenizer.json"
SHARD_SIZE = "5GB"
"""Of one file of weights at most; larger models come in several with an index, as the published ones do."""


class LabelledLoss(NamedTuple):
    """What the objective is made of, one line a trained token.

    Attributes:
        losses_L: float32 negative log-likelihood of each target, in nats.
        log_z_L: float32 logarithm of the softmax's denominator, for a z-loss.
        at_L: int64 places of the targets in the pack.
        targets_L: int64 the targets' ids.
    """

    losses_L: Tensor
    log_z_L: Tensor
    at_L: Tensor
    targets_L: Tensor


SIZE = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
"""The measures of a transformer, by transformers' names; 4096, 11008, 32, 32 and 4096 for the published 7B."""


class MixedModalChameleon(ChameleonForConditionalGeneration):  # type: ignore[misc]
    """Chameleon whose text and image ids stand side by side in one distribution."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        documents: Documents | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits over all V ids, none of them masked.

        Args:
            input_ids: (B, T) ids, or None with `inputs_embeds`.
            attention_mask: None for causal attention, or (B, 1, Q, K) bool, True where a query may look.
            position_ids: (B, T) place of each token in its document.
            past_key_values: a transformers cache.
            inputs_embeds: (B, T, C) in the place of ids.
            use_cache: whether to fill a cache.
            logits_to_keep: how many last positions get logits; 0 for all.
            documents: bounds of a pack (B = 1).
            kwargs: passed on to the layers.

        Raises:
            ValueError: a 2-D padding mask, which the attention here would leave unread, or labels.
        """
        if attention_mask is not None and attention_mask.dim() != 4:
            raise ValueError(
                f"attention_mask is {attention_mask.dim()}-D; expected (B, 1, Q, K) bool or none. "
                "Padded rows are generate.py's business; training uses packs."
            )
        if kwargs.pop("labels", None) is not None:
            raise ValueError("labels are not taken here; use labelled_loss, which gives each token's loss.")
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            documents=documents,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        kept = hidden[:, -logits_to_keep:] if logits_to_keep else hidden
        return CausalLMOutputWithPast(logits=self.lm_head(kept), past_key_values=outputs.past_key_values)

    def hidden_states(self, ids_T: Tensor, positions_T: Tensor, cu_seqlens: Tensor) -> Tensor:
        """Last hidden states of a pack; no document sees another.

        Args:
            ids_T: (T,) int64 ids of whole documents, one after another.
            positions_T: (T,) int64 place of each token in its document, from 0.
            cu_seqlens: (D+1,) integers, cumulative lengths from 0 to T.

        Returns:
            (T, C) after the final norm.

        Raises:
            TokenError: the bounds do not cover the ids, or a document is longer than the model's positions.
        """
        documents = Documents.of(cu_seqlens, len(ids_T), ids_T.device)
        limit = int(self.config.max_position_embeddings)
        if documents.longest > limit:
            raise TokenError(
                f"a document of {documents.longest} tokens; the model has {limit} positions. "
                "Lower the recipe's max_sequence."
            )
        outputs = self.model(
            input_ids=ids_T[None],
            position_ids=positions_T[None],
            use_cache=False,
            documents=documents,
        )
        hidden_TC: Tensor = outputs.last_hidden_state[0]
        return hidden_TC

    def labelled_loss(self, ids_T: Tensor, positions_T: Tensor, cu_seqlens: Tensor, trained_T: Tensor) -> LabelledLoss:
        """Loss of each trained token of a pack; the head runs at their positions only.

        Args:
            ids_T: as in `hidden_states`.
            positions_T: as in `hidden_states`.
            cu_seqlens: as in `hidden_states`.
            trained_T: (T,) bool, True where the token is a target; its predictor is the token before it.

        Raises:
            TokenError: a document's first token is marked: nothing comes before it. Or as in `hidden_states`.
        """
        at_L = trained_T.nonzero().squeeze(1)
        if bool(trained_T[cu_seqlens[:-1].long()].any()):
            raise TokenError("a document's first token is marked as a target; nothing precedes it. Mark replies only.")
        hidden_LC = self.hidden_states(ids_T, positions_T, cu_seqlens)[at_L - 1]
        targets_L = ids_T[at_L]
        losses_L, log_z_L = token_losses(self.lm_head, hidden_LC, targets_L)
        return LabelledLoss(losses_L, log_z_L, at_L, targets_L)

    def recompute_layers(self) -> None:
        """While training, make each layer's activations again for its backward pass instead of keeping them."""
        # transformers has the first name from 5.23 on, and announces the end of the other
        enable = getattr(self, "activation_checkpointing_enable", None) or self.gradient_checkpointing_enable
        enable({"use_reentrant": False})

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> MixedModalChameleon:
        """Read a transformers folder of a Chameleon, ours or published.

        Published conversions carry bos 1 and no pad; the ids are taken from the vocabulary by name instead. Decoder
        tensors that some conversions keep in `model.vqmodel` are left unread.

        Raises:
            WeightsError: not a Chameleon, no vocabulary, no safetensors, or tensors that do not fit.
        """
        values = read_config(folder)
        if values.get("model_type") != "chameleon" or not isinstance(values.get("vocabulary_map"), dict):
            raise WeightsError(
                f"{folder / CONFIG}: model_type is {values.get('model_type')!r}; expected 'chameleon' with its "
                "vocabulary_map. Fetch a transformers conversion."
            )
        if not any(folder.glob("*.safetensors")):
            raise WeightsError(f"{folder}: has no safetensors. Other formats can run code when read and are refused.")
        try:
            with bars_for_people():
                model, told = cls.from_pretrained(
                    folder,
                    dtype=dtype,
                    attn_implementation=DOCUMENTS,
                    use_safetensors=True,
                    local_files_only=True,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # told, and refused below with their names
                )
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(f"{folder}: cannot be loaded as a Chameleon: {error}") from error
        _check_loaded(told, folder)
        _set_special_ids(model, values["vocabulary_map"])
        loaded: MixedModalChameleon = model.to(device).eval()
        return loaded

    def save(self, folder: Path, text_folder: Path) -> None:
        """Write a transformers folder that stock classes load, with the `tokenizer.json` of `text_folder` in it.

        Raises:
            DiskFull: no space left.
            StoreError: `folder` holds something already, or may not be written.
            TokenError: the tokenizer lacks the names of the published vocabulary.
        """
        scratch = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
        with bars_for_people(), weights_written(scratch):
            self.save_pretrained(scratch, max_shard_size=SHARD_SIZE)
        config = read_json(scratch / CONFIG)
        config["architectures"] = [ChameleonForConditionalGeneration.__name__]
        config["dtype"] = str(self.lm_head.weight.dtype).removeprefix("torch.")
        config["vq_config"].pop("dtype", None)  # there after loading, not there in a new model; the same bytes for both
        write_json(scratch / CONFIG, config)
        shutil.copyfile(text_folder / TOKENIZER, scratch / TOKENIZER)
        write_companions(scratch)
        publish_weights(scratch, folder)


def seeded_base(text_folder: Path, vqgan_folder: Path, size: Mapping[str, int], seed: int) -> MixedModalChameleon:
    """A base model from nothing: seeded weights, the tokenizers' own vocabulary and encoder.

    The transformer's weights are transformers' normal initialisation. The rows of the image codes are the image
    tokenizer's codebook in a seeded random projection, scaled to the same spread, so that like codes start alike.

    Args:
        text_folder: holds `tokenizer.json`.
        vqgan_folder: the image tokenizer.
        size: the measures named in `SIZE`, each above 0.
        seed: of all weights but the encoder's.

    Raises:
        ConfigError: `size` lacks a measure, has another, or the heads do not divide the hidden size evenly.
        WeightsError: the text tokenizer's image names and the image tokenizer's codebook do not fit each other.
    """
    if set(size) != set(SIZE) or min(size.values()) < 1 or size["hidden_size"] % (2 * size["num_attention_heads"]):
        raise ConfigError(
            f"size is {dict(size)}; expected {', '.join(SIZE)}, each above 0, and a hidden_size that is an even "
            "multiple of num_attention_heads."
        )
    vqgan = VQGAN.load(vqgan_folder, "exact")
    vocabulary = _vocabulary(text_folder)
    codes = [name for name in vocabulary if name.startswith("IMGIMG")]
    if len(codes) != vqgan.codebook_size:
        raise WeightsError(
            f"{text_folder} names {len(codes)} image codes, {vqgan_folder} has {vqgan.codebook_size}. "
            "Both must come from one set of weights."
        )
    config = ChameleonConfig(
        vocab_size=max(vocabulary.values()) + 1,
        **size,
        num_key_value_heads=size["num_attention_heads"],
        bos_token_id=vocabulary[BOS],
        pad_token_id=vocabulary[PAD],
        eos_token_id=vocabulary[EOS],
        vq_config=vqgan.config.to_dict(),
        vocabulary_map=vocabulary,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MixedModalChameleon._from_config(config, attn_implementation=DOCUMENTS)
        codebook_KD = vqgan.quantize.embedding.weight
        projected_KC = (codebook_KD - codebook_KD.mean(0)) @ torch.randn(codebook_KD.shape[1], size["hidden_size"])
    model.model.vqmodel.load_state_dict(
        {name: tensor for name, tensor in vqgan.state_dict().items() if not name.startswith("decoder.")}
    )
    mapping = model.model.vocabulary_mapping.img2bpe
    ids_K = torch.tensor([mapping[code] for code in range(vqgan.codebook_size)])
    with torch.no_grad():
        spread = config.initializer_range / projected_KC.std()
        model.model.embed_tokens.weight[ids_K] = projected_KC * spread
    _set_special_ids(model, vocabulary)
    base: MixedModalChameleon = model.eval()
    return base


def _vocabulary(text_folder: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    path = text_folder / TOKENIZER
    if not path.is_file():
        raise WeightsError(f"{text_folder}: has no {TOKENIZER}. Expected a text tokenizer's folder.")
    named: dict[str, int] = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    lacking = [name for name in (BOS, PAD, EOS, PLACEHOLDER) if name not in named]
    if lacking:
        raise WeightsError(f"{path}: lacks {', '.join(lacking)}. Expected a mixed-modal vocabulary.")
    return dict(sorted(named.items(), key=lambda item: item[1]))


def _check_loaded(told: dict[str, Any], folder: Path) -> None:
    """Refuse what `from_pretrained` only warns of."""
    foreign = [name for name in told["unexpected_keys"] if not name.startswith("model.vqmodel.")]
    mismatched = [item[0] for item in told["mismatched_keys"]]
    for word, names in (("missing", told["missing_keys"]), ("foreign", foreign), ("of another shape", mismatched)):
        if names:
            shown = ", ".join(sorted(names)[:NAMES_SHOWN])
            raise WeightsError(
                f"{folder}: {len(names)} tensors are {word} ({shown}). Not the weights of this configuration."
            )


def _set_special_ids(model: Any, vocabulary: dict[str, int]) -> None:
    """Begin, pad and end by name, in the configuration and in the generation defaults.

    Nothing else stays of published defaults: some are not valid together, and transformers then refuses to save them.
    """
    model.generation_config = GenerationConfig()
    for config in (model.config, model.generation_config):
        config.bos_token_id = vocabulary.get(BOS, 0)
        config.pad_token_id = vocabulary.get(PAD, 1)
        config.eos_token_id = vocabulary.get(EOS, 2)
