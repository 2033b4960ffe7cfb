#!/bin/bash
# One subject a job: fetch its dataset to the node's own disk, and run an app on it.
#
#     bidsplan split study.plan.jsonl -o parts
#     sbatch --array=1-$(($(wc -l < parts/index.tsv) - 1)) examples/slurm/subjects.sh parts results
#SBATCH --job-name=subjects
#SBATCH --cpus-per-task=4
set -euo pipefail
parts=$1 results=$2

# The line behind the heading whose number is that of this job.
IFS=$'\t' read -r subject plan _ < <(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$parts/index.tsv")

# On the node's own disk, which is faster than a shared one, and removed at the end.
data=$(mktemp -d "${TMPDIR:-/tmp}/subject.XXXXXX")
trap 'rm -rf "$data"' EXIT

bidsplan fetch --quiet "$parts/$plan" "$data"

# The app, in the place of this line: it sees a BIDS dataset of one subject.
mkdir -p "$(dirname "$results/$subject")"
find "$data" -name '*.nii.gz' -not -path '*/.bidsplan/*' | wc -l > "$results/$subject.txt"
