#!/usr/bin/env bash
# Puts the parts of the GPU bundle together on a machine without npm, and runs on it what needs a GPU: see assemble.py,
# or `assemble.sh --help`. Needs python3 (3.8 or newer, its standard library only) beside bash.
set -eu
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="$(command -v python3 || true)"
for candidate in /opt/torch/.venv/bin/python3 /usr/bin/python3 /usr/local/bin/python3; do
  if [ -z "$python" ] && [ -x "$candidate" ]; then python="$candidate"; fi
done
if [ -z "$python" ]; then
  echo 'assemble.sh: there is no python3 on the PATH' >&2
  exit 1
fi
exec "$python" -u "$here/assemble.py" "$@"
