#!/usr/bin/env bash
# A Ray cluster inside one Slurm job, and the command on it. The project must be installed in an environment that every node sees.
#   sbatch --nodes=8 deploy/slurm.sh RECIPE OUT [more arguments of `speechmill data`]
# Killed, requeued or out of time, the same line goes on where it stopped.
#SBATCH --job-name=speechmill
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
set -euo pipefail
recipe=${1:?usage: sbatch deploy/slurm.sh RECIPE OUT [arguments]}
out=${2:?usage: sbatch deploy/slurm.sh RECIPE OUT [arguments]}
shift 2

# Whoever reaches a cluster without a token can run code on it; every node of the job inherits this one.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=${RAY_PORT:-$((20000 + SLURM_JOB_ID % 20000))}
address="$head:$port"

step=(srun --nodes=1 --ntasks=1 --overlap --export=ALL) # --nodelist=NODE COMMAND...: run on one node of the job

pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
}
trap stop EXIT

"${step[@]}" --nodelist="$head" ray start --head --port="$port" --block &
pids+=($!)
until "${step[@]}" --nodelist="$head" ray status --address="$address" >/dev/null 2>&1; do
  kill -0 "${pids[0]}" 2>/dev/null || { echo "slurm.sh: ray does not start on $head" >&2; exit 3; }
  sleep 2
done
for node in "${nodes[@]:1}"; do
  "${step[@]}" --nodelist="$node" ray start --address="$address" --block &
  pids+=($!)
done

# In the background, so that a signal of Slurm is passed on at once: running units finish, and the job may be requeued.
speechmill data "$recipe" -o "$out" --address "$address" "$@" &
driver=$!
trap 'kill -TERM "$driver" 2>/dev/null || true' TERM INT
code=0
wait "$driver" || code=$?
while kill -0 "$driver" 2>/dev/null; do # a wait that a signal cut short
  code=0
  wait "$driver" || code=$?
done
exit "$code"
