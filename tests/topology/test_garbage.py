"""Python's collector in a process that somebody waits for: young cycles go, what has lived through a look is left."""

import subprocess
import sys

LOOKS = """
import gc, weakref
from streams import garbage

class Node:
    pass

def cycle():
    node = Node()
    node.own = node
    return node, weakref.ref(node)

garbage.look()
print("before:", gc.get_freeze_count())
garbage.wait()
print("waits:", not gc.isenabled())
garbage.begin()
print("goes on:", gc.isenabled(), gc.get_freeze_count() > 1000)
gc.disable()  # only `look` looks
young, gone = cycle()
del young
garbage.look()
print("young:", gone())
old, kept = cycle()
garbage.look()
del old
garbage.look()
print("old is looked at:", kept() is None)
node, freed = Node(), None
freed = weakref.ref(node)
garbage.look()
del node
print("without a cycle:", freed())
"""


def test_young_cycles_are_collected_and_what_lived_through_a_look_is_freed_by_count_only() -> None:
    # In a process of its own: what is frozen stays frozen.
    done = subprocess.run([sys.executable, "-c", LOOKS], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [
        "before: 0", "waits: True", "goes on: True True", "young: None", "old is looked at: False",
        "without a cycle: None",
    ]  # fmt: skip
