#!/usr/bin/env bash
# Makes the image that `make bench-scan` measures: a Debian root file system, a
# large node_modules tree, jars and Go programs, one layer each. Needs root,
# debootstrap, npm and Go. Takes a folder; what is there already is kept.
set -euo pipefail
out=${1:?usage: image.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
say() { printf 'image: %s\n' "$*" >&2; }
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false

if [ ! -e "$out/base.done" ]; then
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n1)
	say "Debian root file system"
	rm -rf "$out/base"
	# /tmp may be mounted without device nodes, which debootstrap makes.
	debootstrap --variant=minbase --include=ca-certificates,curl,git,python3,python3-pip,perl,openssl,nginx,redis-server,ruby,php-cli,python3-numpy,openssh-client,less,procps,iproute2 \
		bookworm "$out/base" "$mirror" >"$out/base.log" 2>&1 || { tail -n 5 "$out/base.log" >&2; exit 1; }
	rm -rf "$out/base/var/cache/apt/archives/"*.deb "$out/base/var/lib/apt/lists/"* "$out/base/dev/"*
	touch "$out/base.done"
fi
if [ ! -e "$out/node.done" ]; then
	say "node_modules"
	rm -rf "$out/node" && mkdir -p "$out/node/app"
	cat >"$out/node/app/package.json" <<-'J'
		{"name":"bench","version":"1.0.0","private":true,"dependencies":{
		"react-scripts":"5.0.1","express":"4.18.2","@angular/cli":"15.2.9","lodash":"4.17.20",
		"webpack":"5.88.0","eslint":"8.45.0","jest":"29.6.0","mongoose":"7.3.1","axios":"0.21.0","minimist":"1.2.5"}}
	J
	(cd "$out/node/app" && npm install --ignore-scripts --no-audit --no-fund --legacy-peer-deps --loglevel=error)
	touch "$out/node.done"
fi
if [ ! -e "$out/java.done" ]; then
	say "jars"
	rm -rf "$out/java" "$out/debs" && mkdir -p "$out/java/opt/java" "$out/debs"
	(cd "$out/debs" && apt-get download -qq liblog4j2-java libcommons-collections3-java libcommons-io-java libcommons-compress-java \
		libguava-java libjackson2-core-java libjackson2-databind-java libspring-core-java libspring-web-java libhttpclient-java \
		libyaml-snake-java libbcprov-java libgoogle-gson-java libxstream-java >/dev/null &&
		for d in *.deb; do dpkg -x "$d" tree; done && find tree/usr/share/java -name '*.jar' -type f -exec cp {} "$out/java/opt/java/" \;)
	touch "$out/java.done"
fi
if [ ! -e "$out/go.done" ]; then
	say "Go programs"
	rm -rf "$out/go" && mkdir -p "$out/go/usr/local/bin"
	GOBIN="$out/go/usr/local/bin" go install github.com/google/go-containerregistry/cmd/crane@v0.22.1
	GOBIN="$out/go/usr/local/bin" go install honnef.co/go/tools/cmd/staticcheck@v0.8.2
	touch "$out/go.done"
fi
if [ ! -e "$out/image.tar" ]; then
	say "packing"
	(cd "$here/../.." && go run ./test/benchscan/mkimage -o "$out/image.tar" -name bench:1 "$out/base" "$out/node" "$out/java" "$out/go")
	# The same image with one more small top layer.
	mkdir -p "$out/top/app" && printf '{"name":"left-pad","version":"1.0.0"}\n' >"$out/top/app/package.json"
	(cd "$here/../.." && go run ./test/benchscan/mkimage -o "$out/changed.tar" -name bench:2 "$out/base" "$out/node" "$out/java" "$out/go" "$out/top")
fi
ls -l "$out"/*.tar >&2
