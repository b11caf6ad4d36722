"""The sample build's graph, as reviewers see it change: one line an asset with its inputs."""

from pathlib import Path

from medmax_pipeline import config, graph

SNAPSHOT = Path(__file__).parent / "graph.txt"


def told(project: Path) -> str:
    lines = []
    for step in graph.steps(config.load(project / "configs" / "sample.toml")):
        needs = ", ".join(need.key + (f"#{need.part}" if need.part else "") for need in step.needs)
        lines.append(f"{step.key} <- {needs or 'nothing'}")
    return "\n".join(sorted(lines)) + "\n"


def test_the_graph_is_the_one_that_was_reviewed(project: Path) -> None:
    assert told(project) == SNAPSHOT.read_text(), f"if the change is meant, write the new graph to {SNAPSHOT.name}"


def test_a_sources_cone_does_not_hold_the_other_sources(project: Path) -> None:
    """What one source's curated samples depend on of another is its part of the cross-source decisions alone."""
    steps = {step.key: step for step in graph.steps(config.load(project / "configs" / "sample.toml"))}
    needs = {(need.key, need.part) for need in steps["vqa_rad/curated"].needs}
    assert needs == {("vqa_rad/samples", ""), ("leakage", "vqa_rad"), ("duplicates", "vqa_rad")}
