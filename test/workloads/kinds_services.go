package workloads

// services are the small daemons of a system.
func services() []Kind {
	return []Kind{
		{
			Name: "cron", Args: []string{"/usr/sbin/cron", "-f"},
			Files: map[string]string{
				"/etc/cron.d/job": "SHELL=/bin/sh\nPATH=/usr/bin:/bin\n@reboot root /opt/job >> /tmp/ran 2>&1\n",
				"/opt/job":        "#!/bin/sh\nset -e\nfind /etc -maxdepth 1 -name '*.conf' | sort | head -3 | wc -l\necho finished $(id -un)\n",
			},
			Ready: []string{"/bin/grep", "-q", "finished root", "/tmp/ran"},
			Work:  []Step{run("finished root", "/bin/cat", "/tmp/ran")},
		},
		{
			Name: "rsyslog", Args: []string{"/usr/sbin/rsyslogd", "-n", "-f", "/etc/rsyslog-site.conf", "-i", "/run/rsyslogd.pid"},
			Files: map[string]string{"/etc/rsyslog-site.conf": "module(load=\"imuxsock\" SysSock.Name=\"/run/log.sock\")\n*.* /var/log/all\n"},

			Volumes: []string{"/var/log"},
			Ready:   []string{"/usr/bin/logger", "-u", "/run/log.sock", "--socket-errors=on", "probe"},
			Work: []Step{
				run("", "/usr/bin/logger", "-u", "/run/log.sock", "-p", "user.notice", "the tide turns"),
				sh("for i in $(seq 50); do sleep 0.1; grep 'tide turns' /var/log/all && break; done", "the tide turns"),
				sh("mv /var/log/all /var/log/all.1 && kill -HUP $(cat /run/rsyslogd.pid) && gzip /var/log/all.1 && ls /var/log", "all.1.gz"),
			},
		},
		{
			Name: "dnsmasq", Args: []string{"/usr/sbin/dnsmasq", "-k", "-u", "root", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces", "--port=5353", "--address=/berth.example/192.0.2.7", "--pid-file=/run/dns.pid"},
			Ready: []string{"/usr/bin/python3.11", "/opt/ask.py"},
			Files: map[string]string{"/opt/ask.py": `
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)
q = struct.pack('>6H', 7, 256, 1, 0, 0, 0) + b'\x05berth\x07example\0' + struct.pack('>2H', 1, 1)
s.sendto(q, ('127.0.0.1', 5353)); print('.'.join(map(str, s.recv(512)[-4:])))
`},
			Work: []Step{run("192.0.2.7", "/usr/bin/python3.11", "/opt/ask.py")},
		},
		{
			Name: "sshd", Args: []string{"/bin/sh", "/opt/start"},
			Files: map[string]string{"/opt/start": `
set -e
mkdir -p /run/sshd /root/.ssh && chmod 700 /root/.ssh
ssh-keygen -q -t ed25519 -N '' -f /tmp/host
ssh-keygen -q -t ed25519 -N '' -f /tmp/id
cp /tmp/id.pub /root/.ssh/authorized_keys
exec /usr/sbin/sshd -D -e -f /dev/null -h /tmp/host -p 2222 -o ListenAddress=127.0.0.1 -o UsePAM=no -o StrictModes=no -o Subsystem='sftp /usr/lib/openssh/sftp-server'
`},
			Volumes: []string{"/root"},
			Ready:   []string{"/usr/bin/ssh", "-F", "none", "-p", "2222", "-i", "/tmp/id", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@127.0.0.1", "true"},
			Work: []Step{
				run("remote 12", "/usr/bin/ssh", "-F", "none", "-p", "2222", "-i", "/tmp/id", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@127.0.0.1", "echo remote $(expr 3 \\* 4)"),
				sh("echo put /tmp/id.pub /tmp/copied | sftp -q -F none -b - -P 2222 -i /tmp/id -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@127.0.0.1 >/dev/null && cmp /tmp/id.pub /tmp/copied && echo same", "same"),
			},
		},
		{
			Name: "supervised", Guest: true, Args: []string{"/usr/bin/tini", "--", "/usr/bin/bash", "/opt/supervise"},
			Files: map[string]string{
				"/opt/supervise": "for n in 1 2; do ( while true; do /bin/sh /opt/worker $n; sleep 0.1; done ) & done\nwait\n",
				"/opt/worker":    "echo $$ > /tmp/worker.$1\nfor i in $(seq 3); do sleep 0.1; done\ntouch /tmp/round.$1\n",
			},
			Ready: []string{"/bin/test", "-e", "/tmp/round.2"},
			Work: []Step{
				sh("kill $(cat /tmp/worker.1) 2>/dev/null; rm -f /tmp/round.1; for i in $(seq 50); do sleep 0.1; [ -e /tmp/round.1 ] && break; done; ls /tmp/round.1", "/tmp/round.1"),
			},
		},
		{
			Name: "busybox-shell", Guest: true, Args: []string{"/bin/sh", "/opt/loop"},
			Files: map[string]string{"/opt/loop": "while true; do date > /tmp/now; sort /tmp/now | tr a-z A-Z > /tmp/big; touch /tmp/ready; sleep 1; done\n"},
			Ready: []string{"/bin/ls", "/tmp/ready"},
			Work:  []Step{run("20", "/bin/cat", "/tmp/big"), sh("wc -l /tmp/now | cut -d' ' -f1", "1")},
		},
	}
}
