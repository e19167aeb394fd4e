-- What stands here first is the schema that all cases of this file find. Then each case:
--   -- case NAME -> RULE, RULE     (or: -> safe); all findings, in any order, are named, hints excepted
--   -- with KEY=VALUE ...          rows=N for all tables, version=N, facts=none, created=a,b, string=one: sent as one text
--   -- autocommit / -- transaction what follows runs outside of the transaction / in one again
-- Tables hold five million rows, `small` 20 000, `tiny` 10.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE teams (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (
    id bigint PRIMARY KEY, email varchar(100) NOT NULL, nick varchar(30), bio text, age integer, team_id bigint,
    price numeric(8, 2), any_price numeric, born date, seen timestamp, seen_at timestamptz, mood mood, code char(5),
    flags varbit(8), bits bit(8), address cidr, doc json, docb jsonb, tags text[], small_no smallint, ratio real,
    took interval, at_time time(3), seen3 timestamp(3), label varchar, ref oid, page xml, proven integer,
    CONSTRAINT proven_known CHECK (proven IS NOT NULL)
);
CREATE INDEX users_email ON users (email);
CREATE UNIQUE INDEX users_nick ON users (nick);
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint, state text, total numeric(10, 2));
ALTER TABLE orders ADD CONSTRAINT stated CHECK (state <> '') NOT VALID;
CREATE TABLE invoices (id bigint PRIMARY KEY, order_id bigint);
CREATE TABLE logs (id bigint, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE logs_old (id bigint, at date NOT NULL);
CREATE TABLE logs_checked (id bigint, at date NOT NULL, CONSTRAINT bounds CHECK (at >= '2020-01-01' AND at < '2021-01-01'));
CREATE TABLE small (id bigint PRIMARY KEY, note text);
CREATE TABLE tiny (id bigint PRIMARY KEY, note text);
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN unused AS integer CHECK (VALUE > 0);
CREATE DOMAIN plain AS integer;
CREATE TABLE sums (id bigint PRIMARY KEY, a integer, twice integer GENERATED ALWAYS AS (a * 2) STORED, points positive);
CREATE TABLE events (id bigint, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE VIEW grown AS SELECT id, team_id FROM users WHERE team_id > 18;

-- case widen varchar -> safe
ALTER TABLE users ALTER COLUMN email TYPE varchar(200);
-- case varchar without limit -> safe
ALTER TABLE users ALTER COLUMN nick TYPE varchar;
-- case varchar to text -> safe
ALTER TABLE users ALTER COLUMN email TYPE text;
-- case text to varchar without limit -> safe
ALTER TABLE users ALTER COLUMN bio SET DATA TYPE character varying;
-- case text to varchar with limit -> type-change-rewrites
ALTER TABLE users ALTER COLUMN bio TYPE varchar(500);
-- case narrow varchar -> type-change-rewrites
ALTER TABLE users ALTER COLUMN email TYPE varchar(50);
-- case same varchar -> safe
ALTER TABLE users ALTER COLUMN email TYPE varchar(100);
-- case integer to bigint -> type-change-rewrites
ALTER TABLE users ALTER COLUMN age TYPE bigint;
-- case smallint to integer -> type-change-rewrites
ALTER TABLE users ALTER COLUMN small_no TYPE int;
-- case real to double precision -> type-change-rewrites
ALTER TABLE users ALTER COLUMN ratio TYPE double precision;
-- case integer to oid -> safe
ALTER TABLE users ALTER COLUMN age TYPE oid;
-- case oid to integer -> safe
ALTER TABLE users ALTER COLUMN ref TYPE integer;
-- case integer to text -> type-change-rewrites
ALTER TABLE users ALTER COLUMN age TYPE text;
-- case numeric grows -> safe
ALTER TABLE users ALTER COLUMN price TYPE numeric(12, 2);
-- case numeric loses its limit -> safe
ALTER TABLE users ALTER COLUMN price TYPE numeric;
-- case numeric other scale -> type-change-rewrites
ALTER TABLE users ALTER COLUMN price TYPE numeric(12, 4);
-- case numeric shrinks -> type-change-rewrites
ALTER TABLE users ALTER COLUMN price TYPE numeric(6, 2);
-- case numeric gets a limit -> type-change-rewrites
ALTER TABLE users ALTER COLUMN any_price TYPE numeric(20, 2);
-- case varbit grows -> safe
ALTER TABLE users ALTER COLUMN flags TYPE varbit(16);
-- case bit changes -> type-change-rewrites
ALTER TABLE users ALTER COLUMN bits TYPE bit(16) USING bits::bit(16);
-- case char grows -> type-change-rewrites, char-padded
ALTER TABLE users ALTER COLUMN code TYPE char(8);
-- case char to text -> type-change-rewrites
ALTER TABLE users ALTER COLUMN code TYPE text;
-- case cidr to inet -> safe
ALTER TABLE users ALTER COLUMN address TYPE inet;
-- case json to jsonb -> type-change-rewrites
ALTER TABLE users ALTER COLUMN doc TYPE jsonb USING doc::jsonb;
-- case jsonb to text -> type-change-rewrites
ALTER TABLE users ALTER COLUMN docb TYPE text;
-- case xml to text -> safe
ALTER TABLE users ALTER COLUMN page TYPE text;
-- case date to timestamp -> type-change-rewrites
ALTER TABLE users ALTER COLUMN born TYPE timestamp;
-- case timestamp to timestamptz in an unknown zone -> type-change-rewrites
ALTER TABLE users ALTER COLUMN seen TYPE timestamptz;
-- case timestamp to timestamptz in UTC -> safe
SET LOCAL TIME ZONE 'UTC';
ALTER TABLE users ALTER COLUMN seen TYPE timestamp with time zone;
-- case timestamp to timestamptz in Madrid -> type-change-rewrites
SET LOCAL TIME ZONE 'Europe/Madrid';
ALTER TABLE users ALTER COLUMN seen TYPE timestamp with time zone;
-- case timestamptz to timestamp in UTC -> safe
SET LOCAL timezone TO 'UTC';
ALTER TABLE users ALTER COLUMN seen_at TYPE timestamp;
-- case timestamptz at time zone -> type-change-rewrites
SET LOCAL timezone TO 'UTC';
ALTER TABLE users ALTER COLUMN seen TYPE timestamptz USING seen AT TIME ZONE 'UTC';
-- case timestamp of more digits -> safe
ALTER TABLE users ALTER COLUMN seen3 TYPE timestamp(6);
-- case timestamp of fewer digits -> type-change-rewrites
ALTER TABLE users ALTER COLUMN seen TYPE timestamp(3);
-- case time of more digits -> safe
ALTER TABLE users ALTER COLUMN at_time TYPE time;
-- case interval of fewer digits -> type-change-rewrites
ALTER TABLE users ALTER COLUMN took TYPE interval(0);
-- case enum to text -> type-change-rewrites
ALTER TABLE users ALTER COLUMN mood TYPE text;
-- case trivial using -> safe
ALTER TABLE users ALTER COLUMN email TYPE varchar(120) USING email::varchar(120);
-- case computing using -> type-change-rewrites
ALTER TABLE users ALTER COLUMN bio TYPE text USING trim(bio);
-- case text array to varchar array -> type-change-rewrites
ALTER TABLE users ALTER COLUMN tags TYPE integer[] USING tags::integer[];
-- case collation of an indexed column -> type-change-rebuilds-indexes
ALTER TABLE users ALTER COLUMN email TYPE varchar(100) COLLATE "C";
-- case collation of a column without index -> safe
ALTER TABLE users ALTER COLUMN bio TYPE text COLLATE "C";
-- case type change without facts -> type-change-rewrites
-- with facts=none
ALTER TABLE users ALTER COLUMN email TYPE text;
-- case type change of a tiny table -> safe
ALTER TABLE tiny ALTER COLUMN note TYPE varchar(10);
-- case add nullable column -> safe
ALTER TABLE users ADD COLUMN extra text;
-- case add column with constant default -> safe
ALTER TABLE users ADD COLUMN extra int NOT NULL DEFAULT 0;
-- case add column with constant default before 11 -> default-rewrites
-- with version=10
ALTER TABLE users ADD COLUMN extra int NOT NULL DEFAULT 0;
-- case add column with now -> safe
ALTER TABLE users ADD COLUMN extra timestamptz NOT NULL DEFAULT now();
-- case add column with a cast default -> safe
ALTER TABLE users ADD COLUMN extra varchar(10) DEFAULT 'x'::character varying(10);
-- case add column with random -> volatile-default
ALTER TABLE users ADD COLUMN extra float8 DEFAULT random();
-- case add column with uuid -> volatile-default
ALTER TABLE users ADD COLUMN extra uuid NOT NULL DEFAULT gen_random_uuid();
-- case add column with clock -> volatile-default
ALTER TABLE users ADD COLUMN extra timestamptz DEFAULT clock_timestamp();
-- case add column with nextval -> volatile-default
CREATE SEQUENCE numbers;
ALTER TABLE users ADD COLUMN extra bigint DEFAULT nextval('numbers');
-- case add required column -> column-required
ALTER TABLE users ADD COLUMN extra int NOT NULL;
-- case add serial -> identity-column-rewrites
ALTER TABLE users ADD COLUMN extra bigserial;
-- case add identity -> identity-column-rewrites
ALTER TABLE users ADD COLUMN extra bigint GENERATED BY DEFAULT AS IDENTITY;
-- case add stored generated column -> generated-column-rewrites
ALTER TABLE users ADD COLUMN extra int GENERATED ALWAYS AS (age + 1) STORED;
-- case add column that refers -> safe
ALTER TABLE users ADD COLUMN extra bigint REFERENCES teams (id);
-- case add column that refers with a default -> foreign-key-without-not-valid
ALTER TABLE users ADD COLUMN extra bigint DEFAULT 1 REFERENCES teams (id);
-- case add unique column -> unique-without-index
ALTER TABLE users ADD COLUMN extra bigint UNIQUE;
-- case add checked column -> check-without-not-valid
ALTER TABLE users ADD COLUMN extra int CHECK (extra > 0);
-- case add json column -> json-without-equality
ALTER TABLE users ADD COLUMN extra json;
-- case add char column -> char-padded
ALTER TABLE users ADD COLUMN extra char(3);
-- case set not null -> set-not-null-scans
ALTER TABLE users ALTER COLUMN age SET NOT NULL;
-- case set not null where a check proves it -> safe
ALTER TABLE users ALTER COLUMN proven SET NOT NULL;
-- case set not null where a check proves it before 12 -> set-not-null-scans
-- with version=11
ALTER TABLE users ALTER COLUMN proven SET NOT NULL;
-- case set not null of what is so already -> safe
ALTER TABLE users ALTER COLUMN email SET NOT NULL;
-- case set not null by a validated check -> safe
-- autocommit
ALTER TABLE users ADD CONSTRAINT age_known CHECK (age IS NOT NULL) NOT VALID;
ALTER TABLE users VALIDATE CONSTRAINT age_known;
ALTER TABLE users ALTER COLUMN age SET NOT NULL;
ALTER TABLE users DROP CONSTRAINT age_known;
-- case set not null by a check that is not validated -> set-not-null-scans
ALTER TABLE users ADD CONSTRAINT age_known CHECK (age IS NOT NULL) NOT VALID;
ALTER TABLE users ALTER COLUMN age SET NOT NULL;
-- case drop not null and defaults -> safe
ALTER TABLE users ALTER COLUMN email DROP NOT NULL, ALTER COLUMN age SET DEFAULT 3, ALTER COLUMN age DROP DEFAULT;
-- case create index -> index-blocks-writes
CREATE INDEX users_age ON users (age);
-- case create partial expression index -> index-blocks-writes
CREATE UNIQUE INDEX users_low ON users USING btree (lower(email) text_pattern_ops) WHERE age > 3;
-- case create index concurrently -> safe
-- autocommit
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_age ON users (age);
-- case create index concurrently in a transaction -> concurrently-in-transaction
CREATE INDEX CONCURRENTLY users_age ON users (age);
-- case create index concurrently on a partitioned table -> concurrently-on-partitioned-table
-- autocommit
CREATE INDEX CONCURRENTLY logs_at ON logs (at);
-- case create index on a small table -> index-blocks-writes
CREATE INDEX small_note ON small (note);
-- case create index on a tiny table -> safe
CREATE INDEX tiny_note ON tiny (note);
-- case drop index -> drop-index-locks
DROP INDEX users_email;
-- case drop index concurrently -> safe
-- autocommit
DROP INDEX CONCURRENTLY users_email;
-- case drop index concurrently in a transaction -> concurrently-in-transaction
DROP INDEX CONCURRENTLY users_email;
-- case reindex -> reindex-blocks
REINDEX TABLE users;
-- case reindex index -> reindex-blocks
REINDEX INDEX users_email;
-- case reindex concurrently -> safe
-- autocommit
REINDEX INDEX CONCURRENTLY users_email;
-- case foreign key -> foreign-key-without-not-valid
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id);
-- case foreign key not valid -> safe
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE NOT VALID;
-- case foreign key validated in the same transaction -> validate-in-same-transaction
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID;
ALTER TABLE orders VALIDATE CONSTRAINT orders_user;
-- case foreign key validated later -> safe
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID;
-- autocommit
ALTER TABLE orders VALIDATE CONSTRAINT orders_user;
-- case check -> check-without-not-valid
ALTER TABLE orders ADD CONSTRAINT total_positive CHECK (total > 0);
-- case check not valid -> safe
ALTER TABLE orders ADD CONSTRAINT total_positive CHECK (total > 0) NOT VALID;
-- case unique constraint -> unique-without-index
ALTER TABLE users ADD CONSTRAINT users_age_key UNIQUE (age);
-- case unique constraint by an index -> safe
ALTER TABLE users ADD CONSTRAINT users_nick_key UNIQUE USING INDEX users_nick;
-- case primary key -> unique-without-index
ALTER TABLE logs_old ADD PRIMARY KEY (id, at);
-- case primary key by an index whose columns may be null -> set-not-null-scans
ALTER TABLE users DROP CONSTRAINT users_pkey, ADD CONSTRAINT users_nick_pk PRIMARY KEY USING INDEX users_nick;
-- case exclusion -> exclusion-constraint
ALTER TABLE orders ADD CONSTRAINT no_overlap EXCLUDE USING gist (user_id WITH =, int4range(1, 2) WITH &&);
-- case attach partition -> attach-partition-scans
ALTER TABLE logs ATTACH PARTITION logs_old FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
-- case attach checked partition -> safe
ALTER TABLE logs ATTACH PARTITION logs_checked FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
-- case detach partition -> detach-partition-locks
ALTER TABLE logs DETACH PARTITION logs_2019;
-- case detach partition concurrently -> safe
-- autocommit
ALTER TABLE logs DETACH PARTITION logs_2019 CONCURRENTLY;
-- case drop column -> drop-column
ALTER TABLE users DROP COLUMN nick;
-- case drop column cascade -> drop-column, drop-cascade
ALTER TABLE users DROP COLUMN IF EXISTS age CASCADE;
-- case drop table -> drop-table
DROP TABLE invoices;
-- case drop table cascade -> drop-table, drop-cascade
DROP TABLE IF EXISTS orders CASCADE;
-- case drop view -> drop-view
DROP VIEW grown;
-- case drop view to make it anew -> safe
DROP VIEW grown;
CREATE VIEW grown AS SELECT id FROM users WHERE team_id >= 18;
-- case replace view -> safe
CREATE OR REPLACE VIEW grown AS SELECT id, team_id FROM users WHERE team_id >= 21;
-- case drop function -> drop-function
DROP FUNCTION total_of(bigint);
-- case drop schema -> drop-schema, drop-cascade
DROP SCHEMA archive CASCADE;
-- case drop type -> drop-type
DROP TYPE weather;
-- case rename column -> rename-column
ALTER TABLE users RENAME COLUMN email TO mail;
-- case rename table -> rename-table
ALTER TABLE orders RENAME TO purchases;
-- case rename table with a view in its place -> safe
ALTER TABLE orders RENAME TO purchases;
CREATE VIEW orders AS SELECT * FROM purchases;
-- case move table to another schema -> rename-table
ALTER TABLE orders SET SCHEMA archive;
-- case rename view -> rename-object
ALTER VIEW grown RENAME TO adults;
-- case rename constraint and index -> safe
ALTER TABLE users RENAME CONSTRAINT proven_known TO proven_is_known;
ALTER INDEX users_email RENAME TO users_mail;
-- case add enum value -> safe
ALTER TYPE mood ADD VALUE 'ecstatic' AFTER 'happy';
-- case add enum value and use it -> enum-value-used-in-transaction
ALTER TYPE mood ADD VALUE 'ecstatic';
ALTER TABLE users ALTER COLUMN mood SET DEFAULT 'ecstatic';
-- case add enum value outside and use it -> safe
-- autocommit
ALTER TYPE mood ADD VALUE IF NOT EXISTS 'ecstatic';
-- transaction
ALTER TABLE users ALTER COLUMN mood SET DEFAULT 'ecstatic';
-- case add enum value before 12 -> enum-value-in-transaction
-- with version=11
ALTER TYPE mood ADD VALUE 'ecstatic';
-- case rename enum value -> enum-value-removed
ALTER TYPE mood RENAME VALUE 'ok' TO 'fine';
-- case exchange enum -> enum-value-removed, type-change-rewrites
ALTER TYPE mood RENAME TO mood_old;
CREATE TYPE mood AS ENUM ('sad', 'happy');
ALTER TABLE users ALTER COLUMN mood TYPE mood USING mood::text::mood;
DROP TYPE mood_old;
-- case set tablespace -> table-rewritten
ALTER TABLE users SET TABLESPACE fast;
-- case set unlogged -> table-rewritten
ALTER TABLE users SET UNLOGGED;
-- case cluster -> table-rewritten
CLUSTER users USING users_email;
-- case vacuum full -> table-rewritten
-- autocommit
VACUUM FULL users;
-- case vacuum in a transaction -> outside-transaction-only
VACUUM users;
-- case lock table -> lock-table
LOCK TABLE users IN ACCESS EXCLUSIVE MODE;
-- case weak lock -> safe
LOCK TABLE users IN ROW SHARE MODE;
-- case truncate -> truncate
TRUNCATE invoices;
-- case refresh -> refresh-blocks
REFRESH MATERIALIZED VIEW totals;
-- case refresh concurrently -> safe
REFRESH MATERIALIZED VIEW CONCURRENTLY totals;
-- case row security without policy -> row-security-without-policy
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
-- case row security with policy -> safe
CREATE POLICY own ON orders USING (user_id = current_setting('app.user')::bigint);
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
-- case update of all -> unbounded-change
UPDATE orders SET state = 'new';
-- case update of all with null -> unbounded-change
UPDATE orders SET state = 'new' WHERE state IS NULL;
-- case update by key -> safe
UPDATE orders SET state = 'new' WHERE id BETWEEN 1 AND 1000;
-- case update of part of a large table -> unbounded-change
UPDATE orders SET state = 'new' WHERE state = 'fresh';
-- case update of part of a small table -> safe
UPDATE small SET note = 'x' WHERE note = 'y';
-- case update of a tiny table -> safe
UPDATE tiny SET note = '';
-- case delete of all -> unbounded-change
DELETE FROM orders WHERE true;
-- case backfill beside ddl -> backfill-under-lock
ALTER TABLE orders ADD COLUMN paid boolean;
UPDATE orders SET paid = state = 'paid';
-- case update with a common table expression -> unbounded-change
WITH best AS (SELECT 1) UPDATE orders SET state = 'x';
-- case many tables -> many-tables-locked
ALTER TABLE users ADD COLUMN a1 int;
ALTER TABLE orders ADD COLUMN a1 int;
ALTER TABLE invoices ADD COLUMN a1 int;
-- case many tables each by itself -> safe
-- autocommit
ALTER TABLE users ADD COLUMN a1 int;
ALTER TABLE orders ADD COLUMN a1 int;
ALTER TABLE invoices ADD COLUMN a1 int;
-- case new table with everything -> safe
CREATE TABLE fresh (id bigserial PRIMARY KEY, user_id bigint NOT NULL, state text);
CREATE INDEX fresh_user ON fresh (user_id);
ALTER TABLE fresh ADD CONSTRAINT fresh_user_fk FOREIGN KEY (user_id) REFERENCES users (id);
ALTER TABLE fresh ALTER COLUMN state SET NOT NULL;
ALTER TABLE fresh ADD COLUMN token uuid DEFAULT gen_random_uuid();
ALTER TABLE fresh DROP COLUMN state;
INSERT INTO fresh (id, user_id) VALUES (1, 1);
UPDATE fresh SET user_id = 2;
-- case table of an earlier revision of the same run -> safe
-- with created=fresh
CREATE INDEX fresh_user ON fresh (user_id);
DROP TABLE fresh;
-- case new table with json and char -> json-without-equality, char-padded
CREATE TABLE fresh (id int, doc json, code char(2));
-- case column of this revision dropped again -> safe
ALTER TABLE users ADD COLUMN passing int;
ALTER TABLE users DROP COLUMN passing;
-- case comments, grants, triggers -> safe
COMMENT ON TABLE users IS 'who; and what';
GRANT SELECT ON users TO PUBLIC;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN DELETE FROM users; RETURN new; END $body$;
CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
SELECT count(*) FROM users;
-- case words in strings and comments -> safe
INSERT INTO tiny VALUES (1, 'DROP TABLE users; -- UPDATE users SET email = 1');
/* DROP TABLE users; /* nested */ */ -- TRUNCATE users
COMMENT ON COLUMN users.email IS $$it's; ALTER TABLE users DROP COLUMN email$$;
-- case unknown text -> safe
DO $$ BEGIN EXECUTE 'select 1'; END $$;
ALTER TABLE users FROBNICATE;
FROBNICATE users;
-- case quoted names -> drop-column
ALTER TABLE "public"."users" DROP COLUMN "nick";
-- case several parts -> set-not-null-scans, drop-column
ALTER TABLE ONLY users ALTER age SET NOT NULL, DROP bio, ADD more int;
-- case the second statement of a script in one string -> drop-column, index-blocks-writes
-- with string=one
SELECT 1; CREATE INDEX i ON users (age); ALTER TABLE users DROP COLUMN bio;
-- case a block that alters -> type-change-rewrites, drop-column
DO $$
DECLARE wanted text;
BEGIN
    IF EXISTS (SELECT 1 FROM users) THEN ALTER TABLE users ALTER COLUMN age TYPE bigint; END IF;
    wanted := CASE WHEN true THEN 'a' ELSE 'b' END;
    EXECUTE 'ALTER TABLE users DROP COLUMN bio';
    EXECUTE format('ALTER TABLE %I DROP COLUMN x', wanted);
    RAISE NOTICE 'done; DROP TABLE users';
END $$;
-- case a block that makes a type -> safe
DO $$ BEGIN CREATE TYPE level AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN NULL; END $$;
-- case a block that fills under a lock -> backfill-under-lock
DO $body$ BEGIN ALTER TABLE orders ADD COLUMN seen boolean; UPDATE orders SET seen = false; END $body$;
-- case a column of a domain with conditions -> domain-column-rewrites
ALTER TABLE users ADD COLUMN points positive;
-- case a column of a domain with conditions and a default -> domain-column-rewrites
ALTER TABLE users ADD COLUMN points positive DEFAULT 1;
-- case a column of a domain without conditions -> safe
ALTER TABLE users ADD COLUMN points plain DEFAULT 1;
-- case a condition for a domain -> domain-constraint-scans
ALTER DOMAIN positive ADD CONSTRAINT few CHECK (VALUE < 1000);
-- case a condition for a domain that is not checked -> safe
ALTER DOMAIN positive ADD CONSTRAINT few CHECK (VALUE < 1000) NOT VALID;
-- case a condition for a domain that nobody uses -> safe
ALTER DOMAIN unused ADD CONSTRAINT few CHECK (VALUE < 1000);
-- case a domain of this revision -> safe
CREATE DOMAIN fresh AS integer;
ALTER DOMAIN fresh ADD CONSTRAINT few CHECK (VALUE < 1000);
-- case a partition beside a default one -> default-partition-scans
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
-- case a partition without a default one -> safe
CREATE TABLE logs_2025 PARTITION OF logs FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
-- case attach a checked partition beside a default one -> default-partition-scans
ALTER TABLE events ATTACH PARTITION logs_checked FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
-- case a partition that the default one excludes -> safe
ALTER TABLE events_rest ADD CONSTRAINT none CHECK (at < '2025-01-01' OR at >= '2026-01-01') NOT VALID;
-- autocommit
ALTER TABLE events_rest VALIDATE CONSTRAINT none;
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
-- case index on the parent alone -> safe
CREATE INDEX logs_id ON ONLY logs (id);
-- case index on ONLY a table without partitions -> index-blocks-writes
CREATE INDEX i ON ONLY users (age);
-- case check that is not enforced -> safe
-- with version=18
ALTER TABLE users ADD CONSTRAINT grown_up CHECK (age > 18) NOT ENFORCED;
-- case key that is not enforced -> safe
-- with version=18
ALTER TABLE users ADD CONSTRAINT team FOREIGN KEY (team_id) REFERENCES teams (id) NOT ENFORCED;
-- case key that becomes enforced -> foreign-key-without-not-valid
-- with version=18
ALTER TABLE users ADD CONSTRAINT team FOREIGN KEY (team_id) REFERENCES teams (id) NOT ENFORCED;
ALTER TABLE users ALTER CONSTRAINT team ENFORCED;
-- case another expression of a stored column -> generated-column-rewrites
-- with version=18
ALTER TABLE sums ALTER COLUMN twice SET EXPRESSION AS (a + a);
-- case another expression of a virtual column -> safe
-- with version=18
ALTER TABLE sums ADD COLUMN more integer GENERATED ALWAYS AS (a + 1) VIRTUAL;
ALTER TABLE sums ALTER COLUMN more SET EXPRESSION AS (a + 2);
-- case a virtual column that is never null -> set-not-null-scans
-- with version=18
ALTER TABLE sums ADD COLUMN more integer GENERATED ALWAYS AS (1) VIRTUAL NOT NULL;
-- case a stored column becomes a plain one -> safe
ALTER TABLE sums ALTER COLUMN twice DROP EXPRESSION;
-- case drop a table and make it anew -> drop-table
DROP TABLE IF EXISTS orders;
CREATE TABLE orders (id bigint PRIMARY KEY);
-- case drop a key with what depends on it -> drop-cascade
ALTER TABLE users DROP CONSTRAINT users_pkey CASCADE;
-- case drop an extension with what depends on it -> drop-cascade
DROP EXTENSION citext CASCADE;
-- case drop all of a role -> drop-schema
DROP OWNED BY app;
-- case rename a column of a view -> rename-object
ALTER VIEW grown RENAME COLUMN team_id TO team;
-- case reindex a schema -> outside-transaction-only, reindex-blocks
REINDEX SCHEMA public;
-- case reindex a partitioned table -> outside-transaction-only, reindex-blocks
REINDEX TABLE logs;
-- case settings of the server -> outside-transaction-only
ALTER SYSTEM SET work_mem = '8MB';
-- case update by the key of another table -> unbounded-change
UPDATE users u SET age = t.id FROM teams t WHERE t.id = u.team_id;
-- case update above a key -> unbounded-change
UPDATE users SET age = 1 WHERE id > 0;
-- case update by a key from a large table -> unbounded-change
UPDATE users SET age = 1 WHERE id IN (SELECT user_id FROM orders WHERE state = 'new');
-- case update by a key from some rows of a large table -> safe
UPDATE users SET age = 1 WHERE id IN (SELECT user_id FROM orders WHERE state = 'new' LIMIT 500);
-- case update by keys that are written down -> safe
UPDATE users AS u SET age = v.age FROM (VALUES (1, 20), (2, 30)) AS v (id, age) WHERE u.id = v.id;
-- case update of a batch -> safe
WITH batch AS (SELECT id FROM users WHERE age IS NULL LIMIT 500 FOR UPDATE)
UPDATE users SET age = 0 FROM batch WHERE users.id = batch.id;
-- case delete by the key of another table -> unbounded-change
DELETE FROM orders USING users u WHERE orders.user_id = u.id;
-- case rows moved by a common table expression -> unbounded-change
WITH gone AS (DELETE FROM orders WHERE state = 'old' RETURNING id) INSERT INTO tiny (id) SELECT id FROM gone;
-- case merge from a large table -> unbounded-change
MERGE INTO orders o USING users u ON o.user_id = u.id WHEN MATCHED THEN UPDATE SET state = 'x';
-- case merge from a tiny table -> safe
MERGE INTO orders o USING tiny t ON o.id = t.id WHEN MATCHED THEN UPDATE SET state = 'x';
-- case rows copied while a table is locked -> backfill-under-lock
ALTER TABLE users ADD COLUMN more integer;
CREATE TABLE copied AS SELECT * FROM users;
-- case a new table filled from a large one -> safe
CREATE TABLE copied AS SELECT * FROM users;
-- case validate under the lock of other DDL -> validate-in-same-transaction
ALTER TABLE orders ADD COLUMN more integer;
ALTER TABLE orders VALIDATE CONSTRAINT stated;
-- case validate beside other DDL -> validate-in-same-transaction
ALTER TABLE orders ADD COLUMN more integer, VALIDATE CONSTRAINT stated;
-- case validate under the lock of another table -> validate-in-same-transaction
ALTER TABLE teams ADD COLUMN more integer;
ALTER TABLE orders VALIDATE CONSTRAINT stated;
-- case validate what is valid under the lock of other DDL -> safe
ALTER TABLE users ADD COLUMN more integer;
ALTER TABLE users VALIDATE CONSTRAINT proven_known;
-- case wait for locks without end -> lock-timeout-off
SET LOCAL lock_timeout = '0s';
-- case wait for locks for a while -> safe
SET lock_timeout TO '2s';
-- case drop an attribute of a composite type -> drop-type, drop-cascade
ALTER TYPE address DROP ATTRIBUTE street CASCADE;
