#!/bin/bash
# Many scenes on a SLURM allocation:  sbatch examples/cluster/slurm.sh OUT CAPTURE...
# One Ray head and one Ray worker a machine, then `gags run-many` on the first machine. Untested: adapt it.
#SBATCH --job-name=gags
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

out=$1
shift
source "$HOME/gags-venv/bin/activate" # with gags[scale], the same on every machine
export RAY_USAGE_STATS_ENABLED=0

mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${machines[0]}
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}'):6379
gpus=${SLURM_GPUS_ON_NODE:-0}
cores=${SLURM_CPUS_ON_NODE}

srun --nodes=1 --ntasks=1 --overlap -w "$head" \
    ray start --head --node-ip-address="${address%:*}" --port=6379 --num-cpus="$cores" --num-gpus="$gpus" \
    --disable-usage-stats --block &
sleep 30
others=$((SLURM_JOB_NUM_NODES - 1))
if ((others > 0)); then
    srun --nodes="$others" --ntasks="$others" --overlap --exclude="$head" \
        ray start --address="$address" --num-cpus="$cores" --num-gpus="$gpus" --block &
    sleep 30
fi

# The batch script runs on the first machine. A job that was stopped is queued again and resumes.
gags run-many "$@" --out "$out" --ray "$address"
