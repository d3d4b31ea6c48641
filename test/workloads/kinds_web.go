package workloads

// webServers are servers of pages, behind each other and with helpers.
func webServers() []Kind {
	return []Kind{
		{
			Name: "nginx", Args: []string{"/usr/sbin/nginx", "-e", "stderr", "-c", "/etc/nginx/site.conf"},
			Files: map[string]string{
				"/etc/nginx/site.conf": `
daemon off;
worker_processes 2;
pid /run/nginx.pid;
error_log stderr;
events {}
http {
  access_log /var/log/access.log;
  server { listen 8080; root /srv/www; location /api { proxy_pass http://127.0.0.1:8081; } }
  server { listen 8081; return 200 "upstream\n"; }
}
`,
				"/srv/www/index.html": www,
			},
			Volumes: []string{"/var/log", "/var/lib/nginx"},
			Ready:   []string{"/usr/bin/curl", "-sf", "http://127.0.0.1:8080/"},
			Work: []Step{
				run("upstream", "/usr/bin/curl", "-sf", "http://127.0.0.1:8080/api"),
				run("successful", "/usr/sbin/nginx", "-t", "-e", "stderr", "-c", "/etc/nginx/site.conf"),
				run("", "/usr/sbin/nginx", "-s", "reload", "-e", "stderr", "-c", "/etc/nginx/site.conf"),
				sh("mv /var/log/access.log /var/log/access.log.1 && nginx -s reopen -e stderr -c /etc/nginx/site.conf && gzip -c /var/log/access.log.1 | zcat", "GET /api"),
				run("harbour", "/usr/bin/curl", "-sf", "--retry", "5", "--retry-connrefused", "http://127.0.0.1:8080/"),
			},
		},
		{
			Name: "apache", Args: []string{"/usr/sbin/apache2", "-D", "FOREGROUND", "-f", "/etc/apache2/site.conf"},
			Files: map[string]string{
				"/etc/apache2/site.conf": `
ServerRoot /usr/lib/apache2
ServerName localhost
PidFile /run/apache2.pid
Listen 8080
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule alias_module modules/mod_alias.so
LoadModule dir_module modules/mod_dir.so
LoadModule cgid_module modules/mod_cgid.so
DefaultRuntimeDir /run
ScriptSock /run/cgid.sock
User www-data
Group www-data
ErrorLog /dev/stderr
DocumentRoot /srv/www
ScriptAlias /cgi/ /srv/cgi/
<Directory /srv>
  Require all granted
</Directory>
`,
				"/srv/www/index.html": www,
				"/srv/cgi/report":     "#!/usr/bin/perl\nprint \"Content-Type: text/plain\\n\\nreport \", join(' ', map { $_ * $_ } 1 .. 4), \"\\n\";\n",
			},
			Ready: []string{"/usr/bin/curl", "-sf", "http://127.0.0.1:8080/index.html"},
			Work: []Step{
				run("report 1 4 9 16", "/usr/bin/curl", "-sf", "http://127.0.0.1:8080/cgi/report"),
				run("harbour", "/usr/bin/curl", "-sf", "http://127.0.0.1:8080/index.html"),
			},
		},
		{
			Name: "lighttpd", Args: []string{"/usr/sbin/lighttpd", "-D", "-f", "/etc/lighttpd/site.conf"},
			Files: map[string]string{
				"/etc/lighttpd/site.conf": `
server.port = 8080
server.document-root = "/srv/www"
server.modules = ("mod_cgi", "mod_accesslog")
server.username = "www-data"
index-file.names = ("index.html")
cgi.assign = (".cgi" => "")
`,
				"/srv/www/index.html": www,
				"/srv/www/tide.cgi":   "#!/bin/sh\necho 'Content-Type: text/plain'\necho\necho \"tide at $(date +%Y) is $(expr 6 \\* 7)\"\n",
			},
			Volumes: []string{"/var/cache/lighttpd"},
			Ready:   []string{"/usr/bin/curl", "-sf", "http://127.0.0.1:8080/index.html"},
			Work:    []Step{run("is 42", "/usr/bin/curl", "-sf", "http://127.0.0.1:8080/tide.cgi")},
		},
		{
			Name: "haproxy", Args: []string{"/bin/sh", "/opt/start"},
			Files: map[string]string{
				"/opt/start": "busybox httpd -p 127.0.0.1:8081 -h /srv/www\nexec haproxy -W -db -f /etc/haproxy/site.cfg\n",
				"/etc/haproxy/site.cfg": `
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend in
  bind 127.0.0.1:8080
  default_backend pages
backend pages
  option httpchk GET /
  server one 127.0.0.1:8081 check inter 200ms
`,
				"/srv/www/index.html": www,
			},
			Ready: []string{"/usr/bin/curl", "-sf", "http://127.0.0.1:8080/"},
			Work: []Step{
				run("harbour", "/usr/bin/curl", "-sf", "http://127.0.0.1:8080/"),
				run("", "/bin/kill", "-USR2", "1"), // reload: the master starts itself again
				run("harbour", "/usr/bin/curl", "-sf", "--retry", "9", "--retry-delay", "1", "--retry-all-errors", "http://127.0.0.1:8080/"),
			},
		},
		{
			Name: "busybox-httpd", Guest: true,
			Args: []string{"/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/srv/www"},
			Files: map[string]string{
				"/srv/www/index.html":   www,
				"/srv/www/cgi-bin/load": "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho load $(cut -d' ' -f1 /proc/loadavg)\n",
			},
			Ready: []string{"/bin/busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/"},
			Work: []Step{
				run("load ", "/bin/busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/cgi-bin/load"),
				run("harbour", "/bin/busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/"),
			},
		},
		{
			Name: "php-fpm-nginx", Args: []string{"/usr/bin/tini", "-g", "--", "/bin/sh", "/opt/supervise"},
			Files: map[string]string{
				"/opt/supervise": `
php-fpm8.2 -F -y /etc/php/pool.conf &
nginx -e stderr -c /etc/nginx/site.conf &
wait
`,
				"/etc/php/pool.conf": `
[global]
error_log = /dev/stderr
[www]
user = www-data
group = www-data
listen = /run/php.sock
listen.owner = www-data
pm = dynamic
pm.max_children = 4
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 3
`,
				"/etc/nginx/site.conf": `
daemon off;
user www-data;
pid /run/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  server {
    listen 8080;
    root /srv/www;
    location / {
      fastcgi_pass unix:/run/php.sock;
      fastcgi_param SCRIPT_FILENAME /srv/www/index.php;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param QUERY_STRING $query_string;
    }
  }
}
`,
				"/srv/www/index.php": "<?php file_put_contents('/tmp/visits', '.', FILE_APPEND); echo 'sum ', array_sum(range(1, (int)$_GET['n'])), ' ', trim(shell_exec('echo from the shell')), \"\\n\";\n",
			},
			Volumes: []string{"/var/lib/nginx"},
			Ready:   []string{"/usr/bin/curl", "-sf", "http://127.0.0.1:8080/?n=1"},
			Work:    []Step{run("sum 5050 from the shell", "/usr/bin/curl", "-sf", "http://127.0.0.1:8080/?n=100")},
		},
		{
			Name: "go-static", Args: []string{"/opt/app/server", serveArg}, Guest: true,
			Ready: []string{"/opt/app/server", probeArg, "http://127.0.0.1:8080/healthz"},
			Work:  []Step{run("harbour", "/opt/app/server", probeArg, "http://127.0.0.1:8080/")},
		},
	}
}
