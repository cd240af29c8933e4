#!/usr/bin/env bash
# Counts instructions and allocations of one answer, case by case, under callgrind, and holds them against the figures kept in
# benches/instructions.txt: none may grow by more than 10 %.
#
#   benches/instructions.sh            count and compare
#   benches/instructions.sh --keep     count and write the figures
#   benches/instructions.sh --show     count and print only
#   benches/instructions.sh --show WAY CASE...   only these cases
#
# Counts depend on the compiler, so they are compared only where `rustc --version` is the one that they were kept with.
set -euo pipefail
cd "$(dirname "$0")/.."

kept=benches/instructions.txt
most=110 # per cent of what is kept
answers=200
mode=compare
case ${1-} in
--keep | --show) mode=${1#--} && shift ;;
esac

ways=(gateway wire bare)
cases=(plain 1 5 20 100 400 20-cookie 20-personal plain-gzip 20-gzip)
if [ $# -gt 0 ]; then
	ways=("$1") && shift
	[ $# -gt 0 ] && cases=("$@")
fi

command -v valgrind >/dev/null || {
	echo 'no valgrind: instructions are not counted' >&2
	[ "$mode" = compare ] && exit 0
	exit 1
}
compiler=$(rustc --version)
if [ "$mode" = compare ] && [ "$(sed -n 's/^# rustc: //p' "$kept")" != "$compiler" ]; then
	echo "instructions are not compared: $kept was kept with another compiler than $compiler"
	exit 0
fi

program=$(cargo build --profile bench --example instructions --message-format=json |
	sed -n 's/.*"executable":"\([^"]*\/instructions[^"]*\)".*/\1/p' | tail -1)
[ -x "$program" ] || { echo 'the bench was not built' >&2 && exit 1; }

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Instructions of the counted loop, and calls of the allocator's entries in it, for one answer each.
count() {
	local way=$1 name=$2 file=$out/$1-$2
	valgrind --tool=callgrind --callgrind-out-file="$file" --collect-atstart=no \
		--toggle-collect='instructions::counted_answers*' --toggle-collect='instructions::counted_exchanges*' \
		"$program" "$way" "$name" "$answers" >"$file.log" 2>&1 || { cat "$file.log" >&2 && return 1; }
	awk -v answers="$answers" -v way="$way" -v name="$name" '
		/^summary:|^totals:/ { instructions = $2 }
		/^cfn=/ {
			called = $0
			sub(/^cfn=/, "", called)
			id = called
			sub(/ .*/, "", id)
			if (called ~ / /) { allocates[id] = called ~ / mi_(malloc|zalloc|calloc|realloc)(_aligned)?$/ }
		}
		/^fn=/ {
			called = $0
			sub(/^fn=/, "", called)
			if (called ~ / /) {
				split(called, parts, " ")
				allocates[parts[1]] = called ~ / mi_(malloc|zalloc|calloc|realloc)(_aligned)?$/
			}
		}
		/^calls=/ {
			split($0, parts, /[= ]/)
			if (allocates[id]) { allocations += parts[2] }
		}
		END { printf "%-8s %-12s %9d %6.1f\n", way, name, instructions / answers, allocations / answers }
	' "$file"
}

{
	echo "# rustc: $compiler"
	echo '# way     case         instructions allocations, of one answer'
	for way in "${ways[@]}"; do
		for name in "${cases[@]}"; do
			count "$way" "$name"
		done
	done
} | tee "$out/counts"

case $mode in
keep) cp "$out/counts" "$kept" ;;
show) ;;
compare)
	# Bare hyper is not ours: it is counted to be seen beside.
	awk -v most="$most" '
		/^#/ { next }
		NR == FNR { before[$1 " " $2] = $3; next }
		$1 != "bare" && ($1 " " $2) in before && $3 * 100 > before[$1 " " $2] * most {
			printf "%s %s: %d instructions an answer, kept are %d\n", $1, $2, $3, before[$1 " " $2]
			worse = 1
		}
		END { exit worse }
	' "$kept" "$out/counts" || {
		echo "more than 10 % over $kept; where that is meant: benches/instructions.sh --keep" >&2
		exit 1
	}
	;;
esac
