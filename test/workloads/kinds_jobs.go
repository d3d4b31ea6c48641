package workloads

// jobs run to their end: what cron, a pipeline or a CronJob starts.
func jobs() []Kind {
	return []Kind{
		{
			Name: "logrotate", Output: "rotated 2", Args: []string{"/bin/sh", "/opt/job"},
			Files: map[string]string{
				"/opt/job":                 "set -e\nmkdir -p /var/log/app\nfor n in 1 2; do seq 1000 > /var/log/app/app.log; /usr/sbin/logrotate -f -s /tmp/state /etc/logrotate-site.conf; done\necho rotated $(cat /tmp/posted | wc -l)\nls /var/log/app\n",
				"/etc/logrotate-site.conf": "/var/log/app/*.log {\n  rotate 3\n  compress\n  missingok\n  create 0640 root root\n  postrotate\n    date +%s >> /tmp/posted\n  endscript\n}\n",
			},
			Volumes: []string{"/var/log"},
		},
		{
			Name: "shell-entrypoint", Args: []string{"/opt/entrypoint", "serve"},
			Env: []string{"APP_PORT=8080", "APP_NAME=harbour"},
			Files: map[string]string{
				"/opt/entrypoint": `#!/bin/bash
set -euo pipefail
for f in /opt/entrypoint.d/*.sh; do . "$f"; done
sed -e "s/@PORT@/$APP_PORT/" -e "s/@NAME@/${APP_NAME^^}/" /opt/app.conf.in > /tmp/app.conf
[ "$(id -u)" = 0 ] && chown -R nobody /tmp/app.conf
case "$1" in serve) exec setpriv --reuid=65534 --clear-groups busybox httpd -f -p "127.0.0.1:$APP_PORT" -h /tmp ;; *) exec "$@" ;; esac
`,
				"/opt/entrypoint.d/10-check.sh": "command -v sed >/dev/null\nmkdir -p /tmp/cache\n",
				"/opt/entrypoint.d/20-wait.sh":  "until [ -d /tmp/cache ]; do sleep 0.1; done\n",
				"/opt/app.conf.in":              "name @NAME@\nport @PORT@\n",
			},
			Ready: []string{"/usr/bin/curl", "-sf", "http://127.0.0.1:8080/app.conf"},
			Work: []Step{
				run("name HARBOUR", "/usr/bin/curl", "-sf", "http://127.0.0.1:8080/app.conf"),
				run("migrated", "/opt/entrypoint", "echo", "migrated"),
			},
		},
		{
			Name: "sh-c", Guest: true, Output: "7 mast", Args: []string{"/bin/sh", "-c", `cd /tmp && (for i in 1 2 3 4 5 6 7; do echo mast; done; echo rope) > w && sort w | uniq -c | sort -rn | awk 'NR==1 {print $1, $2}'; sh -c "bash -c 'echo nested'"; env FOO=1 nice -n 1 timeout 5 ls w`},
		},
		{
			Name: "backup", Output: "restored 200", Args: []string{"/bin/sh", "/opt/job"},
			Files: map[string]string{"/opt/job": `
set -e
mkdir -p /data/in /data/out
for i in $(seq 200); do echo "record $i" > /data/in/$i; done
tar czf /data/out/b.tgz -C /data in
tar cf - -C /data in | xz -1 > /data/out/b.txz
tar cf - -C /data in | zstd -q > /data/out/b.zst
(cd /data/out && sha256sum b.* > SUMS && sha256sum -c --quiet SUMS)
rm -r /data/in
tar xzf /data/out/b.tgz -C /data
find /data/out -name 'b.*' -mtime +7 -delete
echo restored $(ls /data/in | wc -l)
`},
			Volumes: []string{"/data"},
		},
		{
			Name: "git", Output: "cloned 2 commits", Args: []string{"/bin/sh", "/opt/job"},
			Files: map[string]string{"/opt/job": `
set -e
export HOME=/tmp GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
cd /data && git init -q -b main src && cd src
echo one > f && git add f && git commit -qm one
echo two >> f && git commit -qam two
git gc -q
git clone -q --no-local /data/src /data/dst
cd /data/dst && git fetch -q && echo cloned $(git log --oneline | wc -l) commits && git diff HEAD~1 --stat
`},
			Volumes: []string{"/data"},
		},
		{
			Name: "certificates", Output: "/tmp/leaf.pem: OK", Args: []string{"/bin/sh", "/opt/job"},
			Files: map[string]string{"/opt/job": `
set -e
cd /tmp
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 2 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf 2>/dev/null
openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.new -days 1 2>/dev/null
mv leaf.new leaf.pem && chmod 600 leaf.key
openssl verify -CAfile ca.pem /tmp/leaf.pem
ssh-keygen -q -t ed25519 -N '' -f key && ssh-keygen -l -f key.pub
head -c 32 /dev/urandom | base64 > token && chmod 400 token
`},
		},
		{
			Name: "rsync", Output: "synced", Args: []string{"/bin/sh", "/opt/job"},
			Files: map[string]string{"/opt/job": `
set -e
mkdir -p /data/a && seq 1000 > /data/a/one && seq 2000 > /data/a/two
rsync -a --delete /data/a/ /data/b/
rm /data/a/one && rsync -a --delete /data/a/ /data/b/
diff -r /data/a /data/b && echo synced
`},
			Volumes: []string{"/data"},
		},
		{
			Name: "parallel-batch", Guest: true, Output: "squares 338350", Args: []string{"/usr/bin/bash", "-c", `mkdir /tmp/o; seq 100 | xargs -P 4 -n 10 sh -c 'for n; do expr $n \* $n; done' sh > /tmp/o/sq; echo squares $(awk '{s += $1} END {print s}' /tmp/o/sq); find /tmp/o -type f -exec rm {} +`},
		},
		{
			Name: "health-probe", Guest: true, Args: []string{"/bin/sh", "/opt/probe"},
			Files: map[string]string{
				"/opt/probe":          "busybox httpd -p 127.0.0.1:8080 -h /srv/www\nwhile true; do curl -sf -o /dev/null -w '%{http_code}\\n' http://127.0.0.1:8080/ >> /tmp/codes; sleep 0.3; done\n",
				"/srv/www/index.html": www,
			},
			Ready: []string{"/bin/grep", "-q", "200", "/tmp/codes"},
			Work:  []Step{run("200", "/bin/tail", "-n", "1", "/tmp/codes")},
		},
		{
			Name: "busybox-job", Guest: true, Output: "packed 5", Args: []string{"/bin/sh", "-c", "cd /tmp && mkdir d && for i in 1 2 3 4 5; do echo $i > d/$i; done && tar czf d.tgz d && rm -r d && tar xzf d.tgz && echo packed $(ls d | wc -l)"},
		},
	}
}
