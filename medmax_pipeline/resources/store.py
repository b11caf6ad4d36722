"""The store as a Dagster resource: where this process finds its build and the ledger over its artifacts.

Paths come from the environment (`MEDMAX_CONFIG`, `MEDMAX_STORE`, `MEDMAX_LANDING`), so that one definition serves every
machine. What is published, and how, is `ledger.py`.
"""

from pathlib import Path

import dagster as dg

from medmax_pipeline import config
from medmax_pipeline.ledger import Ledger


class StoreResource(dg.ConfigurableResource[Ledger]):
    """Hands out the ledger of the build that this process works on."""

    config_file: str = ""
    """A build's TOML; empty: MEDMAX_CONFIG, else the embedded `sample.toml`."""

    def settings(self) -> config.Settings:
        """The build with its recipes and paths.

        Raises:
            ConfigError: the build's or a recipe's file is not as it should be.
        """
        return config.load(Path(self.config_file) if self.config_file else None)

    def ledger(self) -> Ledger:
        """The ledger over the store; the folder is made where it is absent."""
        settings = self.settings()
        return Ledger(settings.store, settings.build.name, settings.landing)
