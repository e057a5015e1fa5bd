sqlite3 rows.db < ../rows.sql
sha256sum rows.db
