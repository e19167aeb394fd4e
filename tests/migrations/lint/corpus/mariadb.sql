-- See postgresql.sql. What differs from MySQL.
CREATE TABLE teams (id bigint PRIMARY KEY, name varchar(50) NOT NULL) CHARSET=utf8mb4;
CREATE TABLE users (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, email varchar(100) NOT NULL, nick varchar(30), bio text, age int,
    score int NOT NULL, mood enum('sad', 'ok', 'happy'), old3 varchar(20) CHARACTER SET utf8mb3, keyed varchar(30),
    KEY users_keyed (keyed)
) CHARSET=utf8mb4;
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint, state varchar(20), total decimal(10, 2)) CHARSET=utf8mb4;

-- case widen varchar across 255 bytes -> safe
ALTER TABLE users MODIFY nick varchar(70);
-- case narrow varchar -> type-change-rewrites
ALTER TABLE users MODIFY email varchar(80) NOT NULL;
-- case int to bigint -> type-change-rewrites
ALTER TABLE users MODIFY age bigint;
-- case moves -> safe
ALTER TABLE users MODIFY age int AFTER bio;
-- case becomes nullable -> table-rebuilt
ALTER TABLE users MODIFY score int NULL;
-- case enum value in the middle -> type-change-rewrites
ALTER TABLE users MODIFY mood enum('sad', 'meh', 'ok', 'happy');
-- case utf8mb3 to utf8mb4 -> safe
ALTER TABLE users MODIFY old3 varchar(20) CHARACTER SET utf8mb4;
-- case collation of an indexed column -> safe
ALTER TABLE users MODIFY keyed varchar(30) COLLATE utf8mb4_bin;
-- case add column with an expression -> safe
ALTER TABLE users ADD COLUMN extra varchar(40) DEFAULT (concat('a', 'b'));
-- case add column with uuid -> volatile-default
ALTER TABLE users ADD COLUMN extra varchar(40) DEFAULT (uuid());
-- case add column from another column -> volatile-default
ALTER TABLE users ADD COLUMN extra int DEFAULT (score + 1);
-- case add column in the middle -> safe
ALTER TABLE users ADD COLUMN extra int FIRST;
-- case add column in the middle before 10.4 -> table-rebuilt
-- with version=10.2
ALTER TABLE users ADD COLUMN extra int FIRST;
-- case add checked column -> safe
ALTER TABLE users ADD COLUMN extra int CHECK (extra > 0);
-- case add stored generated column -> generated-column-rewrites
ALTER TABLE users ADD COLUMN extra int AS (score + 1) PERSISTENT;
-- case check -> table-copied
ALTER TABLE orders ADD CONSTRAINT total_positive CHECK (total > 0);
-- case check without checks -> table-copied
SET check_constraint_checks = 0;
ALTER TABLE orders ADD CONSTRAINT total_positive CHECK (total > 0);
-- case foreign key -> foreign-key-copies-table
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id);
-- case drop primary key -> drop-primary-key
ALTER TABLE orders DROP PRIMARY KEY;
-- case fulltext -> fulltext-index-blocks-writes
ALTER TABLE users ADD FULLTEXT INDEX users_bio (bio);
-- case convert charset -> table-copied
ALTER TABLE users CONVERT TO CHARACTER SET latin1;
-- case drop key column -> drop-column, table-copied
ALTER TABLE orders DROP COLUMN id;
-- case replace a table -> drop-table
CREATE OR REPLACE TABLE orders (id bigint PRIMARY KEY);
-- case a statement with settings -> drop-column
SET STATEMENT max_statement_time = 5 FOR ALTER TABLE users DROP COLUMN nick;
-- case wait for a lock -> drop-column
ALTER TABLE users WAIT 5 DROP COLUMN nick;
-- case do not wait for a lock -> type-change-rewrites
ALTER ONLINE TABLE users NOWAIT MODIFY age bigint;
-- case system versioning -> table-copied
ALTER TABLE users ADD SYSTEM VERSIONING;
