PRAGMA journal_mode = DELETE;
CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT, part INTEGER, value REAL);
BEGIN;
WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 300000)
INSERT INTO rows SELECT n, 'name ' || (n * 7919 % 300007), n % 97, n / 8.0 FROM count;
COMMIT;
CREATE INDEX by_name ON rows (name);
SELECT part, count(*), sum(value), max(name) FROM rows GROUP BY part ORDER BY 3 DESC LIMIT 5;
SELECT count(*) FROM rows a JOIN rows b ON b.name = 'name ' || a.id WHERE a.part = 13;
UPDATE rows SET value = value * 2 WHERE part < 10;
DELETE FROM rows WHERE name LIKE 'name 12%';
SELECT count(*), sum(value) FROM rows;
