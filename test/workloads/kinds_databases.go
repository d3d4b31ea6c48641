package workloads

// databases keep state on volumes, give up root, fork and answer clients.
func databases() []Kind {
	return []Kind{
		{
			Name: "postgresql", Args: []string{"/bin/sh", "/opt/entrypoint"},
			Files: map[string]string{"/opt/entrypoint": `
set -e
bin=/usr/lib/postgresql/15/bin
mkdir -p /data/pg && chown postgres /data/pg && chmod 700 /data/pg
as="setpriv --reuid=postgres --regid=postgres --clear-groups"
[ -s /data/pg/PG_VERSION ] || $as $bin/initdb -D /data/pg -U postgres -A trust --no-sync >/dev/null
exec $as $bin/postgres -D /data/pg -k /tmp -c fsync=off -c listen_addresses=127.0.0.1
`},
			Volumes: []string{"/data"},
			Ready:   []string{"/usr/lib/postgresql/15/bin/pg_isready", "-h", "/tmp", "-q"},
			Work: []Step{
				run("INSERT 0 1000", "/usr/lib/postgresql/15/bin/psql", "-h", "/tmp", "-U", "postgres", "-c", "create table ships (id int primary key, name text)", "-c", "insert into ships select n, 'ship ' || n from generate_series(1, 1000) n"),
				run("1000", "/usr/lib/postgresql/15/bin/psql", "-h", "127.0.0.1", "-U", "postgres", "-tc", "select count(*) from ships"),
				sh("/usr/lib/postgresql/15/bin/pg_dump -h /tmp -U postgres postgres | gzip > /data/dump.gz && zcat /data/dump.gz | grep -c '^[0-9]'", "1000"),
				run("VACUUM", "/usr/lib/postgresql/15/bin/psql", "-h", "/tmp", "-U", "postgres", "-c", "vacuum analyze ships"),
			},
		},
		{
			Name: "mariadb", Args: []string{"/bin/bash", "/opt/entrypoint"},
			Files: map[string]string{"/opt/entrypoint": `
set -e
mkdir -p /data/db && chown mysql /data/db
cat > /tmp/init.sql <<SQL
CREATE DATABASE port;
CREATE TABLE port.berths (n INT PRIMARY KEY, ship VARCHAR(40)) ENGINE=InnoDB;
SQL
exec setpriv --reuid=mysql --regid=mysql --clear-groups mariadbd --no-defaults --datadir=/data/db --socket=/tmp/db.sock \
  --skip-grant-tables --skip-networking --innodb-buffer-pool-size=16M --innodb-log-file-size=4M --innodb-flush-method=fsync \
  --innodb-use-native-aio=0 --aria-log-dir-path=/data/db --init-file=/tmp/init.sql --lc-messages-dir=/usr/share/mysql
`},
			Volumes: []string{"/data"},
			Ready:   []string{"/usr/bin/mariadb", "--no-defaults", "-S", "/tmp/db.sock", "-e", "select 1 from port.berths"},
			Work: []Step{
				run("", "/usr/bin/mariadb", "--no-defaults", "-S", "/tmp/db.sock", "-e", "insert into port.berths values (1, 'Alma'), (2, 'Bree')"),
				run("Bree", "/usr/bin/mariadb", "--no-defaults", "-S", "/tmp/db.sock", "-e", "select ship from port.berths where n = 2"),
			},
		},
		{
			Name: "redis", Args: []string{"/usr/bin/redis-server", "--port", "6379", "--bind", "127.0.0.1", "--dir", "/data", "--appendonly", "yes", "--save", "60 1"},
			Volumes: []string{"/data"},
			Ready:   []string{"/usr/bin/redis-cli", "ping"},
			Work: []Step{
				run("OK", "/usr/bin/redis-cli", "set", "berth", "7"),
				run("7", "/usr/bin/redis-cli", "get", "berth"),
				run("Background", "/usr/bin/redis-cli", "bgrewriteaof"),
				sh("for i in 1 2 3 4 5; do redis-cli incr n; done | tail -1", "5"),
				sh("sleep 0.1; until redis-cli info persistence | grep -q aof_rewrite_in_progress:0; do sleep 0.1; done; redis-cli save", "OK"),
			},
		},
		{
			Name: "memcached", Args: []string{"/usr/bin/memcached", "-u", "nobody", "-l", "127.0.0.1", "-m", "16"},
			Ready: []string{"/bin/bash", "-c", "echo version > /dev/tcp/127.0.0.1/11211"},
			Work: []Step{
				{Args: []string{"/bin/bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/11211; printf 'set k 0 60 5\r\nanchor\r\nquit\r\n' >&3; cat <&3`}, Want: "ERROR"},
				{Args: []string{"/bin/bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/11211; printf 'set k 0 60 6\r\nanchor\r\nget k\r\nquit\r\n' >&3; cat <&3`}, Want: "anchor"},
			},
		},
		{
			Name: "sqlite", Guest: true, Output: "3|60", Args: []string{"/bin/sh", "/opt/job"},
			Files: map[string]string{"/opt/job": `
set -e
db=/data/orders.db
sqlite3 $db 'pragma journal_mode=wal; create table if not exists o (id integer primary key, n int); delete from o; insert into o (n) values (10), (20), (30);'
sqlite3 $db 'select count(*), sum(n) from o'
sqlite3 $db '.backup /data/backup.db'
`},
			Volumes: []string{"/data"},
		},
	}
}
