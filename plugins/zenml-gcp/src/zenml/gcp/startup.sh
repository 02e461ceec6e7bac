# Runs one job's container, and removes this machine when that has ended, however it ended. What the
# variables above say is all that it knows of the job; see _startup.py.
#
#   startup.sh              what the machine does when it has booted
#   startup.sh guard PID    waits for the end of that process, and removes the machine

set -u
umask 077

metadata="http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1"
serial="${ZENML_SERIAL_PORT:-/dev/ttyS1}"
work="${ZENML_WORK:-/var/lib/zenml}"

# ---- what the machine says --------------------------------------------------------------------

# On serial port 2, which only this script and the container write to, and to its own output.
say() {
    printf 'zenml-vm[%s] %s\n' "$mark" "$*" >>"$serial"
    printf 'zenml-vm: %s\n' "$*"
}

# Why the job cannot run, in one line: a cause, and words.
fail() {
    printf '%s' "$1" >"$work/cause"
    say "failed $*"
    exit 1
}

last_line() {
    tail -n 1 "$1" | tr -d '\r' | cut -c 1-500
}

# ---- what it asks for -------------------------------------------------------------------------

about() {
    curl --silent --fail --max-time 10 --retry 3 --header 'Metadata-Flavor: Google' \
        "$metadata/instance/$1"
}

token() {
    about service-accounts/default/token | sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p'
}

# Delete this machine. The id of the request tells whoever looks later why.
remove() {
    local bearer cause
    bearer="$(token)"
    [ -n "$bearer" ] || return 1
    cause="$(cat "$work/cause" 2>/dev/null)"
    curl --silent --show-error --fail --max-time 30 --request DELETE --header @- \
        "$machine?requestId=${requests[${cause:-ENDED}]}" >/dev/null <<<"Authorization: Bearer $bearer"
}

# Deleted in the end, or switched off: then nobody pays for more than its disk.
remove_at_last() {
    local pause
    for pause in 1 2 4 8 16; do
        remove && return
        sleep "$pause"
    done
    say "cannot delete this machine: its service account needs compute.instances.delete"
    poweroff
}

guard() {
    while kill -0 "$1" 2>/dev/null; do
        sleep 0.5
    done
    [ -s "$work/said" ] || fail_for_it
    # For those who read the log; where somebody waits for the job, they remove the machine now.
    sleep "$linger"
    remove_at_last
}

# The script did not come to its end: the job is asked to end, and somebody else says why.
fail_for_it() {
    printf 'INFRA' >"$work/cause"
    timeout 60 docker stop -t 25 zenml >/dev/null 2>&1
    say "failed INFRA the startup script was ended before its job was"
    printf 'ended' >"$work/said"
}

# ---- what it does -----------------------------------------------------------------------------

ended() {
    printf 'ended' >"$work/said"
    # The guard does it; unless there is none.
    kill -0 "$guard" 2>/dev/null || { sleep "$linger" && remove_at_last; }
}

start_guard() {
    cp "$0" "$work/startup.sh"
    # Beside this script, so that it is there when this script is not, and the other way round.
    if [ -d /run/systemd/system ] && [ -z "${ZENML_WORK:-}" ]; then
        systemd-run --quiet --unit=zenml-guard --property=Restart=on-failure \
            --property=RestartSec=10 bash "$work/startup.sh" guard "$$" || return 1
        guard="$(systemctl show --property=MainPID --value zenml-guard)"
    else
        setsid bash "$work/startup.sh" guard "$$" </dev/null >/dev/null 2>&1 &
        guard=$!
    fi
}

prepare_docker() {
    local try
    command -v docker >/dev/null || fail CONFIG "the disk image has no docker"
    for try in $(seq 30); do
        timeout 30 docker version >/dev/null 2>"$work/docker.log" && return
        sleep 2
    done
    fail INFRA "docker does not answer: $(last_line "$work/docker.log")"
}

prepare_gpu() {
    local device
    if command -v cos-extensions >/dev/null; then
        say "preparing installs the driver of the GPU"
        cos-extensions install gpu >"$work/driver.log" 2>&1 ||
            fail INFRA "the driver of the GPU cannot be installed: $(last_line "$work/driver.log")"
        mount --bind /var/lib/nvidia /var/lib/nvidia
        mount -o remount,exec /var/lib/nvidia
        options+=(--volume /var/lib/nvidia/lib64:/usr/local/nvidia/lib64:ro)
        options+=(--volume /var/lib/nvidia/bin:/usr/local/nvidia/bin:ro)
        # Ahead of the user's own.
        options=(--env LD_LIBRARY_PATH=/usr/local/nvidia/lib64 "${options[@]}")
        for device in /dev/nvidia*; do
            [ -c "$device" ] && options+=(--device "$device")
        done
    elif command -v nvidia-smi >/dev/null; then
        options+=(--gpus all)
    else
        fail CONFIG "the disk image has no driver for the GPU, and cannot install one"
    fi
}

# A registry of Google's is asked as this machine's service account, for as long as that takes.
pull() {
    local registry="${image%%/*}" try
    docker image inspect "$image" >/dev/null 2>&1 && return
    say "preparing pulls $image"
    export DOCKER_CONFIG="$work/docker"
    case "$registry" in
    gcr.io | *.gcr.io | *.pkg.dev)
        token | docker login --username oauth2accesstoken --password-stdin "https://$registry" \
            >"$work/pull.log" 2>&1
        ;;
    esac
    for try in 1 2 3; do
        docker pull --quiet "$image" >"$work/pull.log" 2>&1 && break
        [ "$try" -lt 3 ] || fail_pull
        grep -qiE 'not found|denied|unauthori[sz]ed|manifest unknown|invalid reference|no such host' \
            "$work/pull.log" && fail_pull
        sleep "$((try * 5))"
    done
    rm -rf "$DOCKER_CONFIG"
    unset DOCKER_CONFIG
}

fail_pull() {
    rm -rf "$DOCKER_CONFIG"
    fail IMAGE "the image cannot be pulled: $(last_line "$work/pull.log")"
}

run() {
    local container reader code waited
    say "started"
    : >"$work/log"
    # What is left of it if this machine has booted before.
    docker rm --force zenml >/dev/null 2>&1
    # What the job prints goes to a file, so that a slow serial port does not hold it up.
    docker run --rm --name zenml --network host --ipc host --stop-timeout 25 "${options[@]}" \
        --entrypoint "${command[0]}" "$image" "${command[@]:1}" >"$work/log" 2>&1 </dev/null &
    container=$!
    tail --follow --lines=+1 --sleep-interval=0.2 --pid="$container" "$work/log" >>"$serial" \
        2>/dev/null &
    reader=$!
    # The machine is switched off: the job gets what time there is to save its work.
    trap 'docker stop -t 25 zenml >/dev/null 2>&1 &' TERM INT
    wait "$container" && code=0 || code=$?
    while [ "$code" -gt 128 ] && kill -0 "$container" 2>/dev/null; do
        wait "$container" && code=0 || code=$? # the trap had interrupted it
    done
    for waited in $(seq 150); do
        kill -0 "$reader" 2>/dev/null || break
        sleep 0.2
    done
    kill "$reader" 2>/dev/null
    [ -z "$(tail -c 1 "$work/log")" ] || echo >>"$serial"
    case "$code" in
    125 | 126 | 127) fail IMAGE "docker cannot start it: $(last_line "$work/log")" ;;
    esac
    say "ended $code"
}

if [ "${1:-}" = guard ]; then
    guard "$2"
    exit
fi

mkdir -p "$work"
export HOME="$work"
rm -f "$work/said" "$work/cause"
stty -F "$serial" raw clocal -echo 2>/dev/null
guard=
trap ended EXIT
start_guard
prepare_docker
[ "$gpus" = 0 ] || prepare_gpu
pull
run
