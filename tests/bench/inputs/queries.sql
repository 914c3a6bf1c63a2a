-- SPDX-License-Identifier: Apache-2.0
-- Fills tables of an in-memory database, changes them and asks questions that need indexes, sorting and grouping.
PRAGMA journal_mode = MEMORY;
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, city INTEGER, note TEXT);
CREATE TABLE visit (person INTEGER, day INTEGER, place TEXT);
BEGIN;
WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 150000)
INSERT INTO person
    SELECT n, printf('name-%d', n * 7919 % 150001), n * 31 % 997, substr(hex(zeroblob(80)), 1, n % 150) FROM counter;
WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 300000)
INSERT INTO visit SELECT n * 48271 % 150000 + 1, n % 365, printf('place %d', n * 17 % 5003) FROM counter;
COMMIT;
CREATE INDEX person_name ON person (name);
CREATE INDEX visit_person ON visit (person, day);
SELECT count(*), sum(length(note)), max(name) FROM person;
SELECT city, count(*), group_concat(substr(name, 6, 3), '') FROM person GROUP BY city ORDER BY count(*) DESC, city LIMIT 20;
SELECT p.city, count(DISTINCT v.place), sum(v.day) FROM person p JOIN visit v ON v.person = p.id
    WHERE p.city < 300 GROUP BY p.city ORDER BY 3 DESC LIMIT 20;
UPDATE person SET note = note || '/' || name WHERE id % 3 = 0;
DELETE FROM visit WHERE day % 5 = 2;
SELECT place, count(*) FROM visit GROUP BY place ORDER BY 2 DESC, 1 LIMIT 20;
SELECT sum(length(note)), min(note), count(DISTINCT name) FROM person WHERE name LIKE '%7%';
SELECT count(*) FROM (SELECT name FROM person ORDER BY note, name);
