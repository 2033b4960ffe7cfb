#!/bin/bash
# Compute nodes without internet: the login node fetches, the jobs only check what they read.
#
#     bidsplan fetch --locked study.yaml /shared/study
#     sbatch --array=1-8 examples/slurm/offline.sh study.plan.jsonl /shared/study
#SBATCH --job-name=offline
set -euo pipefail
plan=$1 study=$2

# Reads the files of this job's part, and makes no request.
bidsplan verify --quiet --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" "$plan" "$study"
