"""Commands around models: toy make, train, convert."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vlrlt.cli.root import Force, app, check_new, say, toy_app


@toy_app.command("make")
def toy_make(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the videos and annotations.")],
    videos: Annotated[int, typer.Option(min=1, help="Number of videos.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same videos.")] = 0,
    camera: Annotated[
        Literal["steady", "head"],
        typer.Option(help="A steady camera, or one that walks, turns and blurs as on a real head."),
    ] = "steady",
    workers: Annotated[int, typer.Option(min=1, help="Rendering processes.")] = 2,
    force: Force = False,
) -> None:
    """Render first-person cooking videos with annotations in the format of EPIC-KITCHENS-100.

    Example: vlrlt toy make --out toy --videos 8 --seed 1
    """
    from vlrlt.progress import count_progress
    from vlrlt.toy.make import make_toy_kitchen

    check_new(out / "annotations", force=force)
    with count_progress("videos") as show:
        toy = make_toy_kitchen(out, num_videos=videos, seed=seed, camera=camera, num_workers=workers, progress=show)
    say(
        f"{toy.num_videos} videos, {toy.video_s:.0f} s: {toy.num_train_actions} actions in {toy.num_train_videos} for "
        f"training, {toy.num_test_actions} in {toy.num_test_videos} for testing, in {out}"
    )


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def train(ctx: typer.Context) -> None:
    """Train a model with Lightning. vlrlt train fit --help lists the arguments.

    Example: vlrlt train fit -c configs/train/toy.yaml
    """
    if ctx.args in ([], ["--help"]):
        say(ctx.get_help())
        return
    from vlrlt.train.cli import main as train_main

    train_main(ctx.args)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(metavar="FILE.pt", help="An AVION checkpoint.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The model folder to write.")],
) -> None:
    """Convert an AVION checkpoint to a model folder for --model or for init_from in a training recipe.

    Example: vlrlt convert avion_pretrain_lavila_vitb_best.pt --out models/avion-vitb
    """
    from vlrlt.models.avion import load_avion
    from vlrlt.models.checkpoint import save_checkpoint

    model = load_avion(checkpoint)
    save_checkpoint(model, out)
    config = model.video_config
    say(f"{out}: width {config.width}, {config.depth} blocks, {config.num_frames} frames of {config.image_size_px} px")
