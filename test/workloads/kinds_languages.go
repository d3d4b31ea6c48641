package workloads

// languages are applications in interpreters and virtual machines, with the
// helpers that they start.
func languages() []Kind {
	curl := []string{"/usr/bin/curl", "-sf", "http://127.0.0.1:8080/"}
	return []Kind{
		{
			Name: "node", Args: []string{"/usr/bin/node", "/opt/app/server.js"},
			Files: map[string]string{"/opt/app/server.js": `
const http = require('http'), fs = require('fs'), { execFile } = require('child_process');
const { Worker } = require('worker_threads');
http.createServer((req, res) => {
  fs.appendFileSync('/tmp/requests', req.url + '\n');
  if (req.url === '/hash') {
    execFile('/usr/bin/sha256sum', ['/opt/app/server.js'], (err, out) => res.end(err ? 'failed ' + err : 'hash ' + out));
  } else if (req.url === '/worker') {
    const w = new Worker("const {parentPort}=require('worker_threads'); let n=0; for(let i=0;i<1e6;i++) n+=i%7; parentPort.postMessage(n)", { eval: true });
    w.on('message', n => res.end('worker ' + n + '\n'));
  } else res.end('ready\n');
}).listen(8080, '127.0.0.1');
`},
			Ready: curl,
			Work: []Step{
				run("hash ", "/usr/bin/curl", "-sf", "http://127.0.0.1:8080/hash"),
				run("worker 2999997", "/usr/bin/curl", "-sf", "http://127.0.0.1:8080/worker"),
			},
		},
		{
			Name: "python-venv", Args: []string{"/bin/sh", "-c", "python3.11 -m venv --without-pip /tmp/venv && exec /tmp/venv/bin/python /opt/app/server.py"},
			Files: map[string]string{"/opt/app/server.py": `
import ctypes, http.server, json, subprocess, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/jobs':
            out = subprocess.run(['/usr/bin/sort', '-n'], input='30\n4\n100\n', capture_output=True, text=True).stdout
            body = {'sorted': out.split(), 'prefix': sys.prefix, 'sum': ctypes.CDLL(None).abs(-7)}
        else:
            body = {'ready': True}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(('127.0.0.1', 8080), Handler).serve_forever()
`},
			Ready: curl,
			Work:  []Step{run(`{"sorted": ["4", "30", "100"], "prefix": "/tmp/venv", "sum": 7}`, "/usr/bin/curl", "-sf", "http://127.0.0.1:8080/jobs")},
		},
		{
			Name: "python-multiprocessing", Output: "total 4950",
			Args: []string{"/usr/bin/python3.11", "/opt/app/batch.py"},
			Files: map[string]string{"/opt/app/batch.py": `
import multiprocessing, os, tempfile
def work(n):
    with tempfile.NamedTemporaryFile() as f:
        f.write(str(n).encode()); f.flush()
        return int(open(f.name).read())
if __name__ == '__main__':
    multiprocessing.set_start_method('spawn')
    with multiprocessing.Pool(2) as pool:
        print('total', sum(pool.map(work, range(100))))
    os.system('echo done | tr a-z A-Z')
`},
		},
		{
			Name: "ruby", Args: []string{"/usr/bin/ruby3.1", "/opt/app/server.rb"},
			Files: map[string]string{"/opt/app/server.rb": `
require 'webrick'
s = WEBrick::HTTPServer.new(Port: 8080, BindAddress: '127.0.0.1', AccessLog: [], Logger: WEBrick::Log.new('/dev/null'))
s.mount_proc('/') { |q, r| r.body = "up for #{` + "`cut -d. -f1 /proc/uptime`" + `.to_i > 0}\n" }
s.start
`},
			Ready: curl,
			Work:  []Step{run("up for true", curl...)},
		},
		{
			Name: "php-cli", Output: "total 60", Args: []string{"/usr/bin/php8.2", "/opt/app/import.php"},
			Files: map[string]string{
				"/opt/app/import.php": "<?php\n$sum = 0;\nforeach (array_map('str_getcsv', file('/opt/app/orders.csv')) as $row) { $sum += (int)$row[1]; }\nexec('sort -r /opt/app/orders.csv', $lines);\necho count($lines), \" lines, total $sum\\n\";\n",
				"/opt/app/orders.csv": "a,10\nb,20\nc,30\n",
			},
		},
		{
			Name: "perl", Output: "words 3 sorted apple mast rope", Args: []string{"/usr/bin/perl", "/opt/app/report.pl"},
			Files: map[string]string{"/opt/app/report.pl": `
use strict; use POSIX ();
pipe(my $r, my $w) or die;
my $pid = fork() // die;
if (!$pid) { close $r; print $w "rope\nmast\napple\n"; close $w; POSIX::_exit(0) }
close $w; my @words = <$r>; waitpid($pid, 0);
open(my $out, '>', '/tmp/words') or die; print $out @words; close $out;
open(my $sorted, '-|', 'sort', '/tmp/words') or die; chomp(my @s = <$sorted>);
print "words ", scalar(@words), " sorted @s\n";
`},
		},
		{
			Name: "jvm", Args: []string{"/usr/lib/jvm/java-17-openjdk-amd64/bin/java", "-Xmx128m", "/opt/app/Server.java"},
			Files: map[string]string{"/opt/app/Server.java": `
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.stream.LongStream;
public class Server {
  public static void main(String[] args) throws Exception {
    HttpServer s = HttpServer.create(new InetSocketAddress("127.0.0.1", 8080), 0);
    s.createContext("/", x -> {
      long n = LongStream.rangeClosed(1, 5_000_000).map(i -> i % 13 * (i % 7)).sum(); // enough for the JIT
      Process p = new ProcessBuilder("/usr/bin/uname", "-s").start();
      String out = "sum " + n + " on " + new String(p.getInputStream().readAllBytes());
      x.sendResponseHeaders(200, out.length());
      x.getResponseBody().write(out.getBytes());
      x.close();
    });
    s.start();
  }
}
`},
			Ready: curl,
			Work:  []Step{run("sum 89999965 on Linux", curl...), run("sum 89999965 on Linux", curl...)},
		},
	}
}
