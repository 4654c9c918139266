"""What people run: `adversarial-posenet COMMAND ...`, or `python -m pipeline COMMAND ...`."""

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper

from pipeline.errors import PipelineError

COMMANDS = {
    "predict": "the joints of people in your own photographs",
    "demo": "a page to try the model on, in the browser",
    "check": "what a folder of your own photographs and annotations holds, before training",
    "export": "the trained generator as an ONNX file",
    "run": "an experiment, or a sweep, with presets: `dvc exp run` with presets/NAME.yaml",
    "sweep": "many trials on the machines of a Ray cluster",
    "compare": "finished experiments beside each other: a table for a paper",
    "scenes": "photographs of one scene in LSPet, looked for anew",
    "plots": "pages of `dvc plots` that need no network",
    "track": "what a tracking store lacks because it was away",
    "lsp": "the trained generator measured on LSP's test images",
}
# What shows that an extra is there: `demo`, and `train`, which all but prediction by an ONNX file
# needs; and what `sweep` needs.
DEMO, TRAINING = "gradio", "torch"
SWEEP = ("optuna", "ray")


def main(words: list[str] | None = None) -> int:
    """Exit status: 0; 1 where something could not be done; 2 for words that are no command's."""
    parser = argparse.ArgumentParser(
        prog="adversarial-posenet",
        description="Human pose estimation by Adversarial PoseNet.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = (sys.argv[1:] if words is None else words)[:1]
    for name, said in COMMANDS.items():
        command = commands.add_parser(
            name, help=said, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if [name] == wanted:  # the others are not imported: each has libraries of its own
            try:
                module = import_module(f"pipeline.commands.{name}")
            except ModuleNotFoundError as error:
                print(_missing(error), file=sys.stderr)
                return 1
            command.description = module.__doc__
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    for stream in (sys.stdout, sys.stderr):  # names of files that are no UTF-8 are written out
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        options = parser.parse_args(words)
        return options.run(options)
    except ModuleNotFoundError as error:
        print(_missing(error), file=sys.stderr)
    except (PipelineError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def _missing(error: ModuleNotFoundError) -> str:
    """The extra to install. Raises the error where that is there: then it is a mistake of ours."""
    extra = "demo" if error.name == DEMO else "sweep" if error.name in SWEEP else "train"
    if extra == "train" and find_spec(TRAINING):
        raise error
    return f"error: this needs {error.name}: run `pip install '.[{extra}]'` in the repository"


if __name__ == "__main__":
    sys.exit(main())
