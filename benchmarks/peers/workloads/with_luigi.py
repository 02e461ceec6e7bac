"""luigi: tasks whose values are local files, and the local scheduler.

A second run finds the last file and does nothing. Luigi keeps no record of a local run.
"""
# mypy: ignore-errors
# luigi is installed only where this script runs.

import sys

import luigi


class Start(luigi.Task):
    """Gives the first value."""

    def output(self) -> luigi.LocalTarget:
        """Say where the value is."""
        return luigi.LocalTarget("values/start.txt")

    def run(self) -> None:
        """Do the work."""
        write(self, 0)


class Increment(luigi.Task):
    """Adds one to the value of the step before."""

    index = luigi.IntParameter()

    def requires(self) -> luigi.Task:
        """Name the step before."""
        return Increment(self.index - 1) if self.index > 1 else Start()

    def output(self) -> luigi.LocalTarget:
        """Say where the value is."""
        return luigi.LocalTarget(f"values/{self.index}.txt")

    def run(self) -> None:
        """Do the work."""
        write(self, read(self.input()) + 1)


class Branch(luigi.Task):
    """Adds one to the first value."""

    index = luigi.IntParameter()

    def requires(self) -> luigi.Task:
        """Name the first step."""
        return Start()

    def output(self) -> luigi.LocalTarget:
        """Say where the value is."""
        return luigi.LocalTarget(f"values/branch-{self.index}.txt")

    def run(self) -> None:
        """Do the work."""
        write(self, read(self.input()) + 1)


class Join(luigi.Task):
    """Adds up all branches."""

    size = luigi.IntParameter()

    def requires(self) -> list[luigi.Task]:
        """Name all branches."""
        return [Branch(index) for index in range(self.size)]

    def output(self) -> luigi.LocalTarget:
        """Say where the value is."""
        return luigi.LocalTarget("values/joined.txt")

    def run(self) -> None:
        """Do the work."""
        write(self, sum(read(target) for target in self.input()))


def read(target: luigi.LocalTarget) -> int:
    """Read a value."""
    with target.open() as file:
        return int(file.read())


def write(task: luigi.Task, value: int) -> None:
    """Keep a task's value."""
    with task.output().open("w") as file:
        file.write(str(value))


if __name__ == "__main__":
    shape, size = sys.argv[1], int(sys.argv[2])
    end = Increment(size - 1) if size > 1 else Start()
    last = Join(size) if shape == "fan" else end
    if not luigi.build([last], local_scheduler=True, workers=1, log_level="WARNING"):
        sys.exit("the run failed")
    value = read(last.output())
    if value != (size - 1 if shape == "chain" else size):
        sys.exit(f"wrong value {value}")
