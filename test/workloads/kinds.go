package workloads

import "slices"

// Kinds are all workloads.
func Kinds() []Kind {
	return slices.Concat(webServers(), languages(), databases(), services(), jobs(), builds())
}

// www is a page that web servers hand out.
const www = "<h1>the harbour</h1>\n"
