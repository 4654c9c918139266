"""Pages of plots that need no network: `dvc plots show` and `dvc plots diff` with all inside.

    python -m pipeline plots

DVC's own pages ask a server on the internet for three scripts. From this command on those that it
makes in this clone have them inside, from a package that is installed here. `make` says it, too.
"""

import argparse
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.files import written_whole

PAGE = Path(".dvc/plots/page.html")  # DVC's template, which names what DVC fills in
SETTING = "plots/page.html"  # as DVC is told: from its own folder
VEGA_LITE = "5.21"  # the newest of the version that DVC's plots are written in
SCRIPTS = "SCRIPTS"
# What DVC's page calls for each plot; of one without data it knows no more than its name.
DRAW = """window.vegaEmbed = (place, plot) => {
  if (Object.keys(plot).length) return vegaEmbed(place, plot);
  document.querySelector(place).remove();
};"""
TEMPLATE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{{refresh_tag}}
<title>Plots</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; margin: 1rem; }}
  body > .vega-embed {{ display: block; margin-bottom: 1.5rem; }}
  .vega-embed svg.marks {{ max-width: 100%; height: auto; }}
</style>
<script>
{SCRIPTS}
</script>
</head>
<body>
{{plot_divs}}
</body>
</html>
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It is told nothing."""


def run(options: argparse.Namespace) -> int:
    """Write the template with the scripts inside, and let DVC use it in this clone. Raises
    PipelineError outside of one."""
    import vl_convert
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repository = Repo()
    except DvcException:
        raise PipelineError(f"{Path.cwd()}: no repository of DVC; run it in the clone") from None
    scripts = vl_convert.javascript_bundle(DRAW, VEGA_LITE)
    with repository, written_whole(Path(repository.root_dir) / PAGE) as beside:
        # Names of its own: DVC's page gives each plot a script beside it.
        own = f"(() => {{{scripts}}})();".replace("</script", "<\\/script")
        beside.write_text(TEMPLATE.replace(SCRIPTS, own))
    with repository.config.edit("local") as local:
        local.setdefault("plots", {})["html_template"] = SETTING
    print("`dvc plots show` and `dvc plots diff` make pages that need no network, in this clone")
    return 0
