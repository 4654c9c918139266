"""Things broken on purpose: programs killed, stores that fail, disks that are full, bad input.

    make test-faults                  # all of it, about an hour and a half on 2 cores
    make test-faults ARGS='--share 0.05 --only kills,outages'

What runs is real: a clone with a tiny pipeline, `dvc`, MLflow servers, small file systems. What is
promised, and what the last whole run found, is in docs/reliability.md.
"""
