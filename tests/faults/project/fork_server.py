"""Runs the pipeline again and again, each time in a new process, without importing it again.

Reads lines ``FOLDER MODE STORE`` from standard input. For each it makes a process, the leader of a
group of its own, that goes to FOLDER and runs the pipeline against STORE, and answers with the
process's id; then, when the process has ended, with its exit status.
"""

import os
import sys
import traceback

import faulty

import zenml.core.engine
import zenml.metadata  # noqa: F401 - imported now, so that no run has to


def run(folder, mode, store):
    os.setsid()
    os.environ[faulty.JOURNAL] = os.path.join(folder, "journal.txt")
    with open(os.path.join(folder, "output.txt"), "ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    code = 1
    try:
        # Two steps map at once, so there are two workers either way.
        workers = "1" if mode == "processes" else "2"
        faulty.main(["--mode", mode, "--workers", workers, "--store", store])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def warm_up(folder):
    """Have everything imported that a run imports."""
    os.chdir(folder)
    faulty.pipeline().build()


def main():
    warm_up(os.path.dirname(os.path.abspath(__file__)))
    print("ready", flush=True)
    for line in sys.stdin:
        arguments = line.rstrip("\n").split("\t")
        process = os.fork()
        if not process:
            run(*arguments)
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
