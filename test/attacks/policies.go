package attacks

// Namespace of the containers that the policies select.
const Namespace = "attacks"

// Policies are the documents by name, as a person would write them.
func Policies() map[string]string {
	head := func(name string) string {
		return "apiVersion: gabion.dev/v1alpha1\nkind: WorkloadPolicy\nmetadata: {name: " + name + ", namespace: " + Namespace + "}\nspec:\n  selector: {}\n  mode: Protect\n"
	}
	bodies := map[string]string{
		// Only what the image has.
		"drift": `  process: {drift: Deny}
`,
		// One program by path, others by what they are.
		"deny": `  process:
    deny:
      - {path: /usr/bin/denied}
      - {path: /opt/tools/**}
      - {path: /volume/tools/**}
      - {path: /data/tools/**}
      - {class: download-tool}
`,
		// The whole truth, and the image's only.
		"list": `  process:
    drift: Deny
    allow:
      - {path: /usr/bin/attacker}
      - {path: /usr/bin/app}
`,
		"narrow": `  process:
    allow:
      - {path: /usr/bin/attacker}
      - {path: /usr/bin/probe, args: ["-f", "http://localhost/health"]}
      - {path: /usr/bin/launch}
      - {path: /usr/bin/multi}
      - {path: /usr/bin/helper, parents: [/usr/bin/launch]}
      - {path: /usr/bin/asuser, users: [65534]}
      - {path: /usr/bin/interpreter, scripts: [/usr/bin/script]}
`,
		"hardening": `  hardening: {preset: Restricted}
`,
		"capabilities": `  capabilities: {allow: [NET_BIND_SERVICE, SETUID, SETGID, CHOWN, DAC_OVERRIDE]}
`,
		"files": `  files:
    - {path: /volume/secrets, recursive: true, access: Read, by: [/usr/bin/reader]}
    - {path: /volume/closed, recursive: true, access: Write, action: Deny}
    - {path: /etc/shadow, access: Read, action: Deny}
    - {path: /etc, recursive: true, access: Write, action: Deny}
    - {path: /usr/bin, recursive: true, access: Write, action: Deny}
    - {path: /var/spool/cron, recursive: true, access: Write, action: Deny}
    - {path: /root/.ssh/authorized_keys, access: Write, action: Deny}
    - {path: /root/.profile, access: Write, action: Deny}
    - {path: /var/log, recursive: true, access: [Delete, Rename], action: Deny}
`,
	}
	out := map[string]string{}
	for name, body := range bodies {
		out[name] = head(name) + body
	}
	return out
}
