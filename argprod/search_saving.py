"""``argprod search --save``: where a state goes, and the file with its safe twin."""

from __future__ import annotations

import datetime as dt
import os
import shlex
import sys
from pathlib import Path

from proofs.search import Answer, Found, Question, SequenceQuestion, counterexample_json, safe_twin, sequence_twin
from proofs.search.guarding import is_shipped
from proofs.search.saving import FOLDER
from proofs.search.solver import Budget, Interrupted
from scheduler.errors import BadInput
from scheduler.policies.rule import Policy
from scheduler.state_json import StateFile

_TWIN_S = 30.0


def path_of(save: str, question: Question | SequenceQuestion, *, force: bool, folder: Path = FOLDER) -> Path:
    """The file that ``--save`` names: a path that ends in .json, or a name in the collection of a checkout.

    Args:
        save: what the user wrote.
        question: names the rules; only those of the catalogue belong in the collection.
        force: True if a file that exists may be overwritten.
        folder: of the collection.

    Raises:
        BadInput: if nothing can or may be written there.
    """
    own = not save.endswith(".json")
    path = folder / f"{save}.json" if own else Path(save)
    if not path.stem.replace("_", "").isalnum() or not (own or path.parent.is_dir()):
        raise BadInput("--save", save, "a name of letters, digits and _, or a .json file in a folder that exists")
    if own and not _is_checkout(folder):
        hint = "the collection that names go to is part of a checkout of argprod, which this is not"
        raise BadInput("--save", save, "a path that ends in .json", hint)
    if own and (strangers := [policy.label for policy in _rules(question) if not is_shipped(policy)]):
        hint = f"the collection has rules of the catalogue only, {strangers[0]} is your own"
        raise BadInput("--save", save, "a path that ends in .json", hint)
    if path.exists() and not force:
        raise BadInput("--save", _shown(path), "a file that does not exist yet", "--force overwrites it")
    return path


def _is_checkout(folder: Path) -> bool:
    root = folder.parent.parent
    return (root / ".git").exists() and (root / "tests").is_dir() and os.access(folder, os.W_OK)


def _rules(question: Question | SequenceQuestion) -> list[Policy]:
    return [question.rule] if isinstance(question, SequenceQuestion) else list(question.policies)


def _shown(path: Path) -> str:
    """The path from the current folder if it lies in it, else the whole path."""
    path, here = path.absolute(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def save_state(path: Path, question: Question | SequenceQuestion, answer: Answer, *, force: bool) -> None:
    """Write the first state of an answer with its safe twin, and say where on the error stream.

    Raises:
        BadInput: if there is no state, no twin, or the file cannot be written.
        KeyboardInterrupt: by the user.
    """
    if not answer.states:
        print("nothing saved: no state was found", file=sys.stderr)
        return
    try:
        twin = _twin_of(question, answer.states[0])
    except Interrupted:
        raise KeyboardInterrupt from None
    if twin is None:
        raise BadInput("--save", _shown(path), "a state with a safe twin nearby", "none was found in time")
    date = dt.datetime.now(tz=dt.UTC).date().isoformat()
    query = shlex.join(["argprod", *sys.argv[1:]])
    try:
        with path.open("wb" if force else "xb") as file:
            file.write(counterexample_json(question, answer, twin, query=query, date=date))
    except OSError as fault:
        raise BadInput("--save", _shown(path), "a file that can be written", fault.strerror or "") from None
    print(f"saved {_shown(path)}", file=sys.stderr)


def _twin_of(question: Question | SequenceQuestion, found: Found) -> StateFile | None:
    if isinstance(question, SequenceQuestion):
        return sequence_twin(Budget(_TWIN_S), question, found)
    return safe_twin(Budget(_TWIN_S), question, found)
