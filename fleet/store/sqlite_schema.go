package store

import (
	"context"
	"database/sql"
	"fmt"
)

// migrations bring a file from version n (its index) to n+1. They are never
// changed, only added to; user_version holds the version.
//
// An event is one row: the JSON is the truth, the columns are what questions
// are asked of. events_time holds all of them but text, so that counting and
// filtering over long times reads the index alone.
func migrations() []string {
	return []string{`
CREATE TABLE events (
	seq INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	first INTEGER NOT NULL, -- nanoseconds since 1970
	last INTEGER NOT NULL,
	kind TEXT NOT NULL,
	rank INTEGER NOT NULL,  -- of the severity
	effect TEXT NOT NULL,
	namespace TEXT NOT NULL,
	workload TEXT NOT NULL,
	container TEXT NOT NULL,
	policy TEXT NOT NULL,
	count INTEGER NOT NULL,
	text TEXT NOT NULL,     -- lower case, what Query.Text looks in
	body TEXT NOT NULL      -- JSON
);
CREATE INDEX events_time ON events (last, seq, kind, rank, effect, namespace, workload, container, policy, count);
CREATE INDEX events_kind ON events (kind, last, seq);
CREATE INDEX events_workload ON events (namespace, workload, last, seq);
CREATE INDEX events_grave ON events (last, seq) WHERE rank >= 3;
CREATE TABLE documents (
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	body BLOB NOT NULL,
	PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO numbers VALUES ('seq', 0);
`}
}

func migrate(ctx context.Context, db *sql.DB) error {
	steps := migrations()
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(steps) {
		return fmt.Errorf("the file has version %d, this program knows up to %d: start the newer program again, or move the file away to begin afresh", version, len(steps))
	}
	for ; version < len(steps); version++ {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err = tx.ExecContext(ctx, steps[version]); err == nil {
			_, err = tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version+1))
		}
		if err != nil {
			_ = tx.Rollback()
			return fmt.Errorf("bring file to version %d: %w", version+1, err)
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("bring file to version %d: %w", version+1, err)
		}
	}
	return nil
}
