#!/usr/bin/env bash
# Seeds the fuzz targets from the fixtures and runs each for so many seconds (60 unless told): tests/fuzz/run.sh [SECONDS]
# Needs cargo-fuzz (`cargo install cargo-fuzz`) and python3. The sanitizer wants a nightly compiler's switches.
set -euo pipefail
cd "$(dirname "$0")"
seconds="${1:-60}"
python3 - <<'PY'
import hashlib, pathlib, tomllib
def keep(target, data):
    folder = pathlib.Path("corpus") / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
for file in sorted(pathlib.Path("../../fixtures/esi").glob("*.toml")):
    for case in tomllib.loads(file.read_text()).get("case", []):
        for text in [case["template"]] + [part.get("body", "") for part in case.get("fragments", {}).values()]:
            data = text.encode()
            keep("tags", data)
            keep("ssi", data)
            keep("splits", b"\x80" + data)
for file in sorted(pathlib.Path("../../fixtures/expr").glob("*.toml")):
    for row in next((value for value in tomllib.loads(file.read_text()).values() if isinstance(value, list)), []):
        for key in ("expression", "text"):
            if isinstance(row.get(key), str):
                keep("expressions", row[key].encode())
PY
export RUSTC_BOOTSTRAP=1
for target in tags expressions ssi splits; do
    cargo fuzz run --fuzz-dir . "$target" -- -max_total_time="$seconds" -max_len=4096 -timeout=10
done
