"""The dataflow as text, printed from the objects of `streams.topology`."""

from collections.abc import Sequence

from streams.topology import STAGES, Stage


def figure(stages: Sequence[Stage] = STAGES) -> str:
    """Every stage of ours: what flows in and from whom, what flows out and to whom."""
    return "\n\n".join(_stage(stage, stages) for stage in stages if not stage.external)


def _stage(stage: Stage, stages: Sequence[Stage]) -> str:
    own = stage.table.changelog if stage.table else None
    inputs = [(topic, _names(stages, topic, "writes")) for topic in stage.reads if topic != own]
    outputs = [(topic, _names(stages, topic, "reads")) for topic in stage.writes if topic != own]
    width = max(len(who) for _, who in inputs)
    flows = [f"  {who:>{width}} ──► {topic}" for topic, who in inputs]
    longest = max(len(line) for line in flows)
    bends = _bends(len(flows), "┐┤┘")
    lines = [f"{line} {'─' * (longest - len(line))}──{bend}" for line, bend in zip(flows, bends, strict=True)]
    lines.append(" " * (longest + 3) + "▼")
    state = f"  [table {stage.table.name}, changelog {stage.table.changelog}]" if stage.table else ""
    lines.append(" " * (longest + 3 - len(stage.name) // 2) + stage.name + state)
    longest_out = max(len(topic) for topic, _ in outputs)
    for (topic, who), bend in zip(outputs, _bends(len(outputs), "├├└"), strict=True):
        lines.append(" " * (longest + 3) + f"{bend}──► {topic:<{longest_out}} ──► {who}")
    return "\n".join([f"{stage.name.upper()}  {stage.doc}", *lines])


def _bends(count: int, shapes: str) -> list[str]:
    if count == 1:
        return [shapes[0] if shapes[0] == "┐" else shapes[2]]
    return [shapes[0]] + [shapes[1]] * (count - 2) + [shapes[1] if shapes[0] == "┐" else shapes[2]]


def _names(stages: Sequence[Stage], topic: str, end: str) -> str:
    return ", ".join(stage.name for stage in stages if topic in getattr(stage, end))
