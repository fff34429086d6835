#!/usr/bin/env bash
# All GPUs of this machine, with automatic restarts: torchrun starts the processes anew after a crash, and the run
# continues from its newest intact checkpoint.
#
#   bash assets/jobs/torchrun.sh --conf_files configs/seem/focalt_unicl_lang_v1.yaml --overrides DATASETS.TRAIN '[my.yaml]'
set -euo pipefail
cd "$(dirname "$0")/../.."

GPUS=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}

# torchrun passes these on to the processes, which then write a checkpoint; by default it would not know SIGUSR1.
export TORCHELASTIC_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1

exec torchrun --standalone --nproc_per_node="$GPUS" --max-restarts="${RESTARTS:-3}" entry.py train "$@"
