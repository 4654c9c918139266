"""What the peaks of people's boxes and joints are worth, chosen on the validation part."""

import numpy as np
import pandas as pd

from pipeline import paths
from pipeline.data import storage
from pipeline.device import keep_memory
from pipeline.evaluation import protocol
from pipeline.files import copied
from pipeline.finding.estimator import PeopleFinder
from pipeline.judging import protocol as people
from pipeline.judging.fit import UNJUDGED, fitted
from pipeline.mosaics.album import Album
from pipeline.networks.estimator import CropEstimator
from pipeline.photographs.estimator import PoseEstimator
from stages import stage


@stage
def main() -> None:
    keep_memory()
    network, finder = CropEstimator.load(paths.WEIGHTS), PeopleFinder.load(paths.FINDER)
    split, crops = pd.read_csv(paths.SPLIT), storage.load(paths.CROPS, network.geometry)
    indices = np.flatnonzero(split.part == "validation")
    album = Album.read(paths.DATASET, indices)
    observed = people.in_mosaics(PoseEstimator(network, UNJUDGED, finder), album)
    judgement = fitted(observed, protocol.evaluate(network, crops, indices))
    judgement.save(paths.JUDGEMENT)
    copied(paths.copies("calibrate"), paths.JUDGEMENT)
    if not observed.right.any():
        print("warning: nobody is found in validation mosaics; train the finder longer")
    print(
        f"people of a score of {judgement.least:.2f} or more are told of; joints are hidden from"
        f" {judgement.hidden:.2f} on, outside the picture up to {judgement.outside:.2f}"
    )


if __name__ == "__main__":
    main()
