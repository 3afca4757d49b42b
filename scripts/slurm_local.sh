#!/usr/bin/env bash
# A real SLURM on this one machine (Debian or Ubuntu, as root, containers too): installs and starts it; again: does nothing.
#   bash scripts/slurm_local.sh          # ends when `sinfo` shows an idle node
#   bash scripts/slurm_local.sh stop     # stops what it started
# Two partitions on its node: jobs of `high` pre-empt those of `local`, which have 10 s to save their state.
# SLURM_LOCAL_CPUS: CPUs that a node claims to have; SLURM_LOCAL_MAX_ARRAY: jobs of an array; SLURM_LOCAL_NODES: nodes,
# all of them this machine.
set -euo pipefail
state=${SLURM_LOCAL_DIR:-/var/lib/slurm-local}
conf=/etc/slurm/slurm.conf
mark="# written by slurm_local.sh"

stop_one() { # the daemon whose id a pid file holds, if it still is that daemon
  local file=$1 name=$2 pid
  [ -s "$file" ] || return 0
  pid=$(cat "$file")
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$name" ]; then
    kill "$pid"
    for _ in $(seq 50); do [ -d "/proc/$pid" ] || break; sleep 0.1; done
  fi
  rm -f "$file"
}

if [ "${1:-start}" = stop ]; then
  for file in "$state"/slurmd*.pid; do stop_one "$file" slurmd; done
  stop_one "$state/slurmctld.pid" slurmctld
  stop_one "$state/munged.pid" munged
  exit 0
fi

[ "$(id -u)" = 0 ] || { echo "slurm_local.sh: needs root" >&2; exit 3; }
if [ -f "$conf" ] && ! grep -qF "$mark" "$conf"; then
  echo "slurm_local.sh: $conf stands there already and is not mine: this machine has a SLURM of its own" >&2; exit 3
fi
if ! command -v slurmctld slurmd munged sbatch >/dev/null; then
  command -v apt-get >/dev/null || { echo "slurm_local.sh: no apt-get here; install slurm-wlm and munge" >&2; exit 3; }
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -q --no-install-recommends slurm-wlm munge >/dev/null 2>&1 ||
    { apt-get update -q >/dev/null 2>&1 && apt-get install -y -q --no-install-recommends slurm-wlm munge >/dev/null 2>&1; } ||
    { echo "slurm_local.sh: slurm-wlm and munge cannot be installed here" >&2; exit 3; }
fi

mkdir -p "$state/ctld" "$state/d" /run/munge /var/lib/munge /var/log/munge /etc/munge /etc/slurm
if [ ! -s /etc/munge/munge.key ]; then
  (umask 077; dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none)
fi
chown root /etc/munge /etc/munge/munge.key /run/munge /var/lib/munge /var/log/munge
chmod 0700 /etc/munge /var/lib/munge /var/log/munge; chmod 0400 /etc/munge/munge.key; chmod 0755 /run/munge

cores=${SLURM_LOCAL_CPUS:-$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)}
host=$(hostname -s)
nodes=${SLURM_LOCAL_NODES:-1}
names=("$host"); list=$host; ports=6818
if [ "$nodes" -gt 1 ]; then
  mapfile -t names < <(seq -f "$host-%g" "$nodes")
  list="$host-[1-$nodes]"; ports="[6818-$((6817 + nodes))]"
fi
memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024))
cat >"$conf" <<CONF
$mark
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldParameters=enable_configless
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job begins again after this many seconds, not two minutes.
AuthInfo=cred_expire=5
CredType=cred/munge
SlurmctldPort=6817
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.%n.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.%n.log
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d.%n
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MaxArraySize=${SLURM_LOCAL_MAX_ARRAY:-1001}
SlurmdParameters=config_overrides
JobRequeue=1
KillWait=10
MinJobAge=3600
ReturnToService=2
SlurmdTimeout=60
NodeName=$list NodeHostname=$host NodeAddr=127.0.0.1 Port=$ports CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=local Nodes=$list Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO PriorityTier=1 GraceTime=10
PartitionName=high Nodes=$list MaxTime=INFINITE State=UP OverSubscribe=NO PriorityTier=10
CONF

runs() { [ -s "$1" ] && [ "$(cat "/proc/$(cat "$1")/comm" 2>/dev/null)" = "$2" ]; }
runs "$state/munged.pid" munged || munged --force --pid-file "$state/munged.pid" --key-file /etc/munge/munge.key
# Jobs of a controller that was killed belong to nobody any more: a new one begins without them.
runs "$state/slurmctld.pid" slurmctld || slurmctld -c
for name in "${names[@]}"; do
  mkdir -p "$state/d.$name"
  runs "$state/slurmd.$name.pid" slurmd || slurmd -N "$name"
done
for _ in $(seq 120); do
  waiting=$(sinfo -h -N -o '%N %t' 2>/dev/null | grep -vE ' (idle|mix|alloc)$' || true)
  if [ -z "$waiting" ] && sinfo -h >/dev/null 2>&1; then exit 0; fi
  case $waiting in
    *down* | *drain* | *unk*) scontrol update "nodename=$list" state=resume >/dev/null 2>&1 || true ;;
  esac
  sleep 0.5
done
echo "slurm_local.sh: the nodes do not become idle; see $state/slurmctld.log and $state/slurmd.*.log" >&2
exit 3
