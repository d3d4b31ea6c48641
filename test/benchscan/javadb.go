package main

import (
	"database/sql"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver
)

// emptyJavaDB makes the index of jars that trivy refuses to start without, with
// nothing in it. Its next update lies in a future that no run will see.
func emptyJavaDB(cache string) (err error) {
	dir := filepath.Join(cache, "java-db")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "trivy-java.db"))
	if err != nil {
		return err
	}
	defer func() {
		if cerr := db.Close(); err == nil {
			err = cerr
		}
	}()
	for _, q := range []string{
		"CREATE TABLE artifacts (id INTEGER PRIMARY KEY, group_id TEXT, artifact_id TEXT)",
		"CREATE TABLE indices (artifact_id INTEGER, version TEXT, sha1 BLOB, archive_type TEXT)",
	} {
		if _, err := db.Exec(q); err != nil {
			return err
		}
	}
	const never = `{"Version": 1, "NextUpdate": "2100-01-01T00:00:00Z", "UpdatedAt": "2024-01-01T00:00:00Z", "DownloadedAt": "2024-01-01T00:00:00Z"}`
	return os.WriteFile(filepath.Join(dir, "metadata.json"), []byte(never), 0o600)
}
