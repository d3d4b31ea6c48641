package inventory

import (
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// makers are who the distributions' own rpms name as vendor, by ID of
// os-release: the beginning of it, in lower case.
var makers = map[string][]string{
	"rhel": {"red hat"}, "centos": {"centos", "red hat"}, "fedora": {"fedora"}, "almalinux": {"almalinux", "cloudlinux"},
	"rocky": {"rocky"}, "ol": {"oracle"}, "amzn": {"amazon"}, "photon": {"vmware", "broadcom"}, "azurelinux": {"microsoft"}, "mariner": {"microsoft"},
	"sles": {"suse"}, "sled": {"suse"}, "sle_hpc": {"suse"}, "sles_sap": {"suse"}, "sle-micro": {"suse"}, "sl-micro": {"suse"}, "suse-microos": {"suse"},
	"opensuse-leap": {"suse", "opensuse"}, "opensuse-tumbleweed": {"opensuse", "suse"},
}

// publishers are domains of those who publish packages for Debian and Ubuntu
// themselves. The field Maintainer cannot decide more than that: many of
// Debian's own maintainers write a private address.
var publishers = []string{
	"@docker.com", "@nodesource.com", "@nginx.com", "@f5.com", "@hashicorp.com", "@elastic.co", "@mongodb.com", "@oss.oracle.com", "@mariadb.com",
	"@gitlab.com", "@grafana.com", "@influxdata.com", "@datadoghq.com", "@microsoft.com", "@google.com", "@percona.com", "@confluent.io",
	"@newrelic.com", "@sury.org", "@kohsuke.org", "@neo4j.com", "@rabbitmq.com", "@redis.com", "@redis.io", "@clickhouse.com",
	"@adoptopenjdk.net", "@adoptium.net", "@azul.com", "@amazon.com", "@bitnami.com", "@puppet.com", "@varnish-software.com",
}

// foreign reports whether a package of the operating system that owns path was
// made by others: its distributor then issues no advisories for what is in it. It
// is decided by the vendor (rpm; fpm and a few others for Debian), by known
// publishers, and by the path: no distribution may put anything into /opt (FHS 3.13).
// An unknown maker counts as the distributor.
func foreign(r *scan.Release, p *placed, path string) bool {
	if strings.HasPrefix(path, "opt/") {
		return true
	}
	vendor := strings.ToLower(p.vendor)
	switch systems[p.Found] {
	case "rpm":
		own := makers[r.ID]
		for _, m := range own {
			if strings.HasPrefix(vendor, m) {
				return false
			}
		}
		return vendor != "" && vendor != "(none)" && own != nil
	case "deb":
		for _, d := range publishers {
			if strings.HasSuffix(strings.TrimSuffix(vendor, ">"), d) {
				return true
			}
		}
		// Origin or Vendor, which Debian's own packages do not have.
		return vendor != "" && !strings.Contains(vendor, "@") && vendor != "debian" && vendor != "ubuntu"
	}
	return false
}
