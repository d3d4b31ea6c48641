package workloads

// builds make packages and programs, as build containers do. They do not run
// what they built: a program that the image does not have is drift, and a
// policy that lets it run says so by an exception.
func builds() []Kind {
	return []Kind{
		{
			Name: "make-gcc", Output: "T compass", Args: []string{"/usr/bin/make", "-C", "/opt/src", "OUT=/tmp/out"},
			Files: map[string]string{
				"/opt/src/Makefile":  "all:\n\tmkdir -p $(OUT)\n\tgcc -O2 -c compass.c -o $(OUT)/compass.o\n\tar rcs $(OUT)/libcompass.a $(OUT)/compass.o\n\tgcc -shared -fPIC -o $(OUT)/libcompass.so compass.c\n\tnm $(OUT)/libcompass.a\n",
				"/opt/src/compass.c": "int compass(int degrees) { return degrees % 360; }\n",
			},
		},
		{
			Name: "dpkg-build", Output: "./usr/share/berth/list", Args: []string{"/bin/sh", "/opt/job"},
			Files: map[string]string{"/opt/job": `
set -e
mkdir -p /tmp/p/DEBIAN /tmp/p/usr/share/berth
printf 'Package: berth\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: berths\n' > /tmp/p/DEBIAN/control
seq 10 > /tmp/p/usr/share/berth/list
dpkg-deb --root-owner-group --build /tmp/p /tmp/berth.deb
dpkg-deb -c /tmp/berth.deb
`},
		},
		{
			Name: "dpkg-install", Output: "installed 1.0", Args: []string{"/bin/sh", "/opt/job"},
			Files: map[string]string{"/opt/job": `
set -e
mkdir -p /tmp/p/DEBIAN /tmp/p/usr/share/berth
printf 'Package: berth\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: berths\n' > /tmp/p/DEBIAN/control
seq 10 > /tmp/p/usr/share/berth/list
dpkg-deb --root-owner-group --build /tmp/p /tmp/berth.deb >/dev/null
mkdir -p /tmp/admin/info /tmp/admin/updates && touch /tmp/admin/status /tmp/admin/available
dpkg --admindir=/tmp/admin --force-depends --force-not-root -i /tmp/berth.deb >/dev/null
echo installed $(dpkg-query --admindir=/tmp/admin -W -f '${Version}' berth)
`},
		},
	}
}
