"""`vlrlt train fit -c FILE.yaml`: LightningCLI around the contrastive module."""

import warnings

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from vlrlt.train.callbacks import Throughput
from vlrlt.train.datamodule import ClipDataModule
from vlrlt.train.module import ContrastiveModule


class TrainCLI(LightningCLI):
    """Shapes that data and model share are written once, in the model's part of the YAML."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link what must agree."""
        parser.link_arguments("model.video.num_frames", "data.num_frames")
        parser.link_arguments("model.preprocess.image_size_px", "data.image_size_px")


def main(argv: list[str]) -> None:
    """Run fit or validate with the given arguments; the resolved configuration is saved beside the logs."""
    with warnings.catch_warnings():
        # These arguments do come from a command line: the one of `vlrlt train`.
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
        warnings.filterwarnings("ignore", message="You're using the WeightAveraging callback")  # nothing is sharded
        TrainCLI(
            ContrastiveModule,
            ClipDataModule,
            args=argv,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            # The global batch is divided among processes by our own sampler.
            trainer_defaults={"callbacks": Throughput(), "use_distributed_sampler": False},
        )
