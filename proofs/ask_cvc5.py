"""Asks cvc5 one question and prints what it says: ``python ask_cvc5.py MILLISECONDS < QUESTION.smt2``.

A program of its own, because cvc5 does not always keep its time limit and a process can be ended. It imports nothing of
this project.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Read SMT-LIB 2 from standard input; errors of cvc5 go to standard output as it writes them."""
    import cvc5

    solver = cvc5.Solver(cvc5.TermManager())
    solver.setOption("tlimit-per", sys.argv[1])
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, sys.stdin.read(), "question.smt2")
    try:
        while not (command := parser.nextCommand()).isNull():
            sys.stdout.write(command.invoke(solver, parser.getSymbolManager()))
    except RuntimeError as fault:  # its one error for whatever it cannot read
        sys.stdout.write(f"(error {fault})\n")


if __name__ == "__main__":
    main()
