-- See postgresql.sql. DDL commits by itself here; tables are in utf8mb4.
CREATE TABLE teams (id bigint PRIMARY KEY, name varchar(50) NOT NULL) CHARSET=utf8mb4;
CREATE TABLE users (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, email varchar(100) NOT NULL, nick varchar(30), bio text, age int,
    score int NOT NULL, price decimal(8, 2), seen datetime, mood enum('sad', 'ok', 'happy'), code char(5),
    latin varchar(20) CHARACTER SET latin1, old3 varchar(20) CHARACTER SET utf8mb3, keyed varchar(30), team_id bigint,
    flag tinyint(1), place int NOT NULL DEFAULT 0, KEY users_keyed (keyed)
) CHARSET=utf8mb4;
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint, state varchar(20), total decimal(10, 2)) CHARSET=utf8mb4;
CREATE TABLE shapes (id bigint PRIMARY KEY, form geometry NOT NULL SRID 0) CHARSET=utf8mb4;
CREATE TABLE small (id bigint PRIMARY KEY, note text) CHARSET=utf8mb4;
CREATE TABLE tiny (id bigint PRIMARY KEY, note text) CHARSET=utf8mb4;

-- case widen varchar above 255 bytes -> safe
ALTER TABLE users MODIFY email varchar(200) NOT NULL;
-- case widen varchar below 255 bytes -> safe
ALTER TABLE users MODIFY nick varchar(60);
-- case widen varchar across 255 bytes -> type-change-rewrites
ALTER TABLE users MODIFY nick varchar(70);
-- case widen latin varchar -> safe
ALTER TABLE users MODIFY latin varchar(255) CHARACTER SET latin1;
-- case narrow varchar -> type-change-rewrites
ALTER TABLE users MODIFY email varchar(80) NOT NULL;
-- case varchar to text -> type-change-rewrites
ALTER TABLE users MODIFY nick text;
-- case int to bigint -> type-change-rewrites
ALTER TABLE users MODIFY age bigint;
-- case int to unsigned -> type-change-rewrites
ALTER TABLE users MODIFY age int unsigned;
-- case display width -> safe
ALTER TABLE users MODIFY age int(11);
-- case tinyint(1) is boolean -> safe
ALTER TABLE users MODIFY flag boolean;
-- case decimal grows -> type-change-rewrites
ALTER TABLE users MODIFY price decimal(10, 2);
-- case datetime of more digits -> type-change-rewrites
ALTER TABLE users MODIFY seen datetime(6);
-- case char grows -> type-change-rewrites
ALTER TABLE users MODIFY code char(9);
-- case text grows -> type-change-rewrites
ALTER TABLE users MODIFY bio mediumtext;
-- case default alone -> safe
ALTER TABLE users MODIFY score int NOT NULL DEFAULT 5;
-- case comment alone -> safe
ALTER TABLE users MODIFY age int COMMENT 'in years';
-- case becomes nullable -> table-rebuilt
ALTER TABLE users MODIFY score int NULL;
-- case moves -> table-rebuilt
ALTER TABLE users MODIFY age int AFTER id;
-- case moves to where it is -> safe
ALTER TABLE users MODIFY age int AFTER bio;
-- case enum value appended -> safe
ALTER TABLE users MODIFY mood enum('sad', 'ok', 'happy', 'ecstatic');
-- case enum value in the middle -> type-change-rewrites
ALTER TABLE users MODIFY mood enum('sad', 'meh', 'ok', 'happy');
-- case enum value removed -> enum-value-removed, type-change-rewrites
ALTER TABLE users MODIFY mood enum('sad', 'happy');
-- case charset of a column -> type-change-rewrites
ALTER TABLE users MODIFY latin varchar(20) CHARACTER SET utf8mb4;
-- case utf8mb3 to utf8mb4 -> safe
ALTER TABLE users MODIFY old3 varchar(20) CHARACTER SET utf8mb4;
-- case collation of a column -> safe
ALTER TABLE users MODIFY nick varchar(30) COLLATE utf8mb4_bin;
-- case collation of an indexed column -> type-change-rewrites
ALTER TABLE users MODIFY keyed varchar(30) COLLATE utf8mb4_bin;
-- case modify without facts -> type-change-rewrites
-- with facts=none
ALTER TABLE users MODIFY email varchar(200) NOT NULL;
-- case change name and type -> rename-column, type-change-rewrites
ALTER TABLE users CHANGE age years bigint;
-- case change name alone -> rename-column
ALTER TABLE users CHANGE age years int;
-- case rename column -> rename-column
ALTER TABLE users RENAME COLUMN age TO years;
-- case add column -> safe
ALTER TABLE users ADD COLUMN extra int;
-- case add column in the middle -> safe
ALTER TABLE users ADD COLUMN extra int NOT NULL DEFAULT 3 AFTER id;
-- case add column in the middle before 8.0.29 -> table-rebuilt
-- with version=8.0.20
ALTER TABLE users ADD COLUMN extra int AFTER id;
-- case add column with current_timestamp -> safe
ALTER TABLE users ADD COLUMN extra datetime(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6);
-- case add column with uuid -> volatile-default
ALTER TABLE users ADD COLUMN extra varchar(40) DEFAULT (uuid());
-- case add column with an expression -> default-rewrites
ALTER TABLE users ADD COLUMN extra json DEFAULT (json_array());
-- case add required column -> column-required
ALTER TABLE users ADD COLUMN extra varchar(10) NOT NULL;
-- case add stored generated column -> generated-column-rewrites
ALTER TABLE users ADD COLUMN extra int GENERATED ALWAYS AS (score + 1) STORED;
-- case add virtual generated column -> safe
ALTER TABLE users ADD COLUMN extra int AS (score + 1) VIRTUAL;
-- case add auto_increment -> identity-column-rewrites
ALTER TABLE orders ADD COLUMN number bigint NOT NULL AUTO_INCREMENT UNIQUE;
-- case add checked column -> table-copied
ALTER TABLE users ADD COLUMN extra int CHECK (extra > 0);
-- case drop column -> drop-column
ALTER TABLE users DROP COLUMN nick;
-- case drop column before 8.0.29 -> drop-column, table-rebuilt
-- with version=8.0.20
ALTER TABLE users DROP COLUMN nick;
-- case set default -> safe
ALTER TABLE users ALTER COLUMN age SET DEFAULT 3;
-- case add index -> safe
ALTER TABLE users ADD INDEX users_age (age);
-- case create unique index -> safe
CREATE UNIQUE INDEX users_email ON users (email(20));
-- case add fulltext index -> fulltext-index-blocks-writes
ALTER TABLE users ADD FULLTEXT INDEX users_bio (bio);
-- case create spatial index -> fulltext-index-blocks-writes
CREATE SPATIAL INDEX shapes_form ON shapes (form);
-- case drop index -> safe
DROP INDEX users_keyed ON users;
-- case rename index -> safe
ALTER TABLE users RENAME INDEX users_keyed TO users_by_key;
-- case drop primary key -> drop-primary-key
ALTER TABLE orders DROP PRIMARY KEY;
-- case exchange primary key -> table-rebuilt
ALTER TABLE users DROP PRIMARY KEY, ADD PRIMARY KEY (id, score);
-- case foreign key -> foreign-key-copies-table
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id);
-- case foreign key without checks -> safe
SET SESSION foreign_key_checks = 0;
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id);
SET SESSION foreign_key_checks = 1;
-- case check -> table-copied
ALTER TABLE orders ADD CONSTRAINT total_positive CHECK (total > 0);
-- case unique constraint -> safe
ALTER TABLE users ADD CONSTRAINT users_email UNIQUE (email);
-- case convert charset -> table-copied
ALTER TABLE users CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- case default charset -> safe
ALTER TABLE users DEFAULT CHARACTER SET latin1;
-- case engine -> table-rebuilt
ALTER TABLE users ENGINE=InnoDB;
-- case other engine -> table-copied
ALTER TABLE users ENGINE=MyISAM;
-- case row format -> table-rebuilt
ALTER TABLE users ROW_FORMAT=COMPRESSED;
-- case partition -> table-copied
ALTER TABLE orders PARTITION BY HASH (id) PARTITIONS 4;
-- case drop partition -> truncate
ALTER TABLE orders DROP PARTITION p2019;
-- case optimize -> table-rebuilt
OPTIMIZE TABLE users;
-- case copy asked for -> table-copied
ALTER TABLE users ADD COLUMN extra int, ALGORITHM=COPY;
-- case instant that is not -> algorithm-refused
ALTER TABLE users MODIFY age bigint, ALGORITHM=INSTANT;
-- case no lock that is not -> algorithm-refused
ALTER TABLE users ADD FULLTEXT INDEX users_bio (bio), ALGORITHM=INPLACE, LOCK=NONE;
-- case instant that is -> safe
ALTER TABLE users ADD COLUMN extra int, ALGORITHM=INSTANT;
-- case several alters that go through the table -> separate-alters
ALTER TABLE users ADD INDEX users_age (age);
ALTER TABLE users ADD INDEX users_score (score);
-- case several instant alters -> safe
ALTER TABLE users ADD COLUMN extra1 int;
ALTER TABLE users ADD COLUMN extra2 int;
-- case rows before ddl -> ddl-commits-implicitly
INSERT INTO teams (id, name) VALUES (1, 'a');
ALTER TABLE users ADD COLUMN extra int;
-- case rows alone -> safe
INSERT INTO teams (id, name) VALUES (1, 'a\'; DROP TABLE users; --');
-- case update of all -> unbounded-change
UPDATE orders SET state = 'new';
-- case update with a limit -> safe
UPDATE orders SET state = 'new' WHERE state IS NULL LIMIT 1000;
-- case delete of all -> unbounded-change
DELETE FROM orders;
-- case drop table -> drop-table
DROP TABLE orders;
-- case rename table -> rename-table
RENAME TABLE orders TO purchases;
-- case swap tables -> safe
RENAME TABLE orders TO orders_old, orders_new TO orders;
-- case alter rename -> rename-table
ALTER TABLE orders RENAME TO purchases;
-- case truncate -> truncate
TRUNCATE TABLE orders;
-- case lock tables -> lock-table
LOCK TABLES orders WRITE;
-- case drop view -> drop-view
DROP VIEW grown;
-- case new table -> safe
CREATE TABLE fresh (id bigint AUTO_INCREMENT PRIMARY KEY, user_id bigint NOT NULL, note text, KEY (user_id)) CHARSET=utf8mb4;
ALTER TABLE fresh ADD CONSTRAINT fresh_user FOREIGN KEY (user_id) REFERENCES users (id);
ALTER TABLE fresh ADD FULLTEXT INDEX fresh_note (note);
ALTER TABLE fresh MODIFY note varchar(100) NOT NULL;
-- case copying a small table -> type-change-rewrites
ALTER TABLE small MODIFY note varchar(100);
-- case copying a tiny table -> safe
ALTER TABLE tiny MODIFY note varchar(100);
-- case comments of the client -> safe
# DROP TABLE users;
/*!40101 SET NAMES utf8mb4 */;
SELECT "DROP TABLE users";
-- case executed comment -> drop-column
/*!80000 ALTER TABLE users DROP COLUMN nick */;
-- case trigger -> safe
CREATE TRIGGER stamp BEFORE INSERT ON orders FOR EACH ROW BEGIN SET NEW.state = 'x'; DELETE FROM teams; END;
-- case unknown text -> safe
ALTER TABLE users FROBNICATE;
-- case index on an expression -> index-blocks-writes
ALTER TABLE users ADD INDEX users_next ((age + 1));
-- case create index on an expression -> index-blocks-writes
CREATE INDEX users_next ON users ((age + 1));
-- case index on an expression without a lock -> algorithm-refused
CREATE INDEX users_next ON users ((age + 1)) ALGORITHM=INPLACE LOCK=NONE;
-- case virtual column and its index in one -> index-blocks-writes
ALTER TABLE users ADD COLUMN next int AS (age + 1) VIRTUAL, ADD INDEX users_next (next);
-- case virtual column, then its index -> safe
ALTER TABLE users ADD COLUMN next int AS (age + 1) VIRTUAL;
ALTER TABLE users ADD INDEX users_next (next);
-- case check that is not enforced -> safe
ALTER TABLE users ADD CONSTRAINT grown CHECK (age > 18) NOT ENFORCED;
-- case column with a check that is not enforced -> safe
ALTER TABLE users ADD COLUMN extra int CHECK (extra > 0) NOT ENFORCED;
-- case check that becomes enforced -> table-copied
ALTER TABLE users ADD CONSTRAINT grown CHECK (age > 18) NOT ENFORCED;
ALTER TABLE users ALTER CHECK grown ENFORCED;
-- case more partitions by hash -> table-copied
ALTER TABLE orders ADD PARTITION PARTITIONS 4;
-- case rebuild a partition -> table-copied
ALTER TABLE orders REBUILD PARTITION old;
-- case empty a partition -> truncate
ALTER TABLE orders TRUNCATE PARTITION old;
-- case delete by a join -> unbounded-change
DELETE u FROM users u JOIN teams t ON t.id = u.team_id WHERE t.name = 'x';
-- case delete of the joined table -> unbounded-change
DELETE orders FROM users u JOIN orders ON orders.user_id = u.id;
-- case update by a join -> unbounded-change
UPDATE users u JOIN teams t ON t.id = u.team_id SET u.age = 1;
-- case update of two tables -> unbounded-change
UPDATE users, teams SET users.age = 1 WHERE users.team_id = teams.id;
-- case lock several tables -> lock-table
LOCK TABLES teams READ, users WRITE;
-- case lock against writes -> lock-table
LOCK TABLES users READ;
-- case lock everything -> lock-table
FLUSH TABLES WITH READ LOCK;
-- case a new table filled from a large one -> unbounded-change
CREATE TABLE copied AS SELECT * FROM users;
-- case a new table filled by a select from a large one -> unbounded-change
CREATE TABLE copied (id bigint PRIMARY KEY);
INSERT INTO copied SELECT id FROM users;
-- case a new table filled with some rows -> safe
CREATE TABLE copied AS SELECT * FROM users LIMIT 100;
