-- See postgresql.sql.
CREATE TABLE teams (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE users (
    id INTEGER PRIMARY KEY, email VARCHAR(100) NOT NULL, nick VARCHAR(30) UNIQUE, bio TEXT, age INTEGER,
    team_id INTEGER REFERENCES teams (id), CHECK (age > 0)
);
CREATE INDEX users_email ON users (email);
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id) ON DELETE CASCADE, state TEXT);
CREATE VIEW grown AS SELECT id, bio FROM users;
CREATE TRIGGER orders_stamp AFTER INSERT ON orders BEGIN UPDATE teams SET name = 'x' WHERE id = 1; END;
CREATE TABLE tiny (id INTEGER PRIMARY KEY, note TEXT);

-- case add column -> safe
ALTER TABLE users ADD COLUMN extra TEXT;
-- case add column with default -> safe
ALTER TABLE users ADD COLUMN extra INTEGER NOT NULL DEFAULT 0;
-- case add required column -> column-cannot-be-added
ALTER TABLE users ADD COLUMN extra INTEGER NOT NULL;
-- case add column with current_timestamp -> column-cannot-be-added
ALTER TABLE users ADD COLUMN extra TEXT DEFAULT CURRENT_TIMESTAMP;
-- case add column with an expression -> column-cannot-be-added
ALTER TABLE users ADD COLUMN extra INTEGER DEFAULT (1 + 1);
-- case add unique column -> column-cannot-be-added
ALTER TABLE users ADD COLUMN extra INTEGER UNIQUE;
-- case add primary key -> column-cannot-be-added
ALTER TABLE users ADD COLUMN extra INTEGER PRIMARY KEY;
-- case add stored generated column -> column-cannot-be-added
ALTER TABLE users ADD COLUMN extra INTEGER GENERATED ALWAYS AS (age + 1) STORED;
-- case add virtual generated column -> safe
ALTER TABLE users ADD COLUMN extra INTEGER AS (age + 1);
-- case add column that refers -> safe
ALTER TABLE users ADD COLUMN boss INTEGER REFERENCES users (id);
-- case add column that refers with a default -> column-cannot-be-added
ALTER TABLE users ADD COLUMN boss INTEGER DEFAULT 1 REFERENCES users (id);
-- case drop column -> drop-column
ALTER TABLE orders DROP COLUMN state;
-- case drop indexed column -> drop-column, column-in-use
ALTER TABLE users DROP COLUMN email;
-- case drop unique column -> drop-column, column-in-use
ALTER TABLE users DROP COLUMN nick;
-- case drop checked column -> drop-column, column-in-use
ALTER TABLE users DROP COLUMN age;
-- case drop column of a view -> drop-column, column-in-use
ALTER TABLE users DROP COLUMN bio;
-- case rename column -> rename-column
ALTER TABLE users RENAME COLUMN email TO mail;
-- case rename table -> rename-table
ALTER TABLE orders RENAME TO purchases;
-- case drop table -> drop-table
DROP TABLE orders;
-- case drop view -> drop-view
DROP VIEW grown;
-- case create index -> index-blocks-writes
CREATE INDEX users_age ON users (age);
-- case create index on a tiny table -> safe
CREATE INDEX tiny_note ON tiny (note);
-- case batch -> batch-copies-table
-- autocommit
PRAGMA foreign_keys = OFF;
-- transaction
CREATE TABLE _alembic_tmp_teams (id INTEGER NOT NULL, name VARCHAR(40) NOT NULL, PRIMARY KEY (id));
INSERT INTO _alembic_tmp_teams (id, name) SELECT teams.id, teams.name FROM teams;
DROP TABLE teams;
ALTER TABLE _alembic_tmp_teams RENAME TO teams;
-- case batch with foreign keys on -> batch-copies-table, batch-deletes-children
CREATE TABLE _alembic_tmp_teams (id INTEGER NOT NULL, name VARCHAR(40) NOT NULL, PRIMARY KEY (id));
INSERT INTO _alembic_tmp_teams (id, name) SELECT teams.id, teams.name FROM teams;
DROP TABLE teams;
ALTER TABLE _alembic_tmp_teams RENAME TO teams;
-- case batch with a pragma that comes too late -> pragma-in-transaction, batch-copies-table, batch-deletes-children
PRAGMA foreign_keys=OFF;
CREATE TABLE _alembic_tmp_teams (id INTEGER NOT NULL, name VARCHAR(40) NOT NULL, PRIMARY KEY (id));
INSERT INTO _alembic_tmp_teams (id, name) SELECT teams.id, teams.name FROM teams;
DROP TABLE teams;
ALTER TABLE _alembic_tmp_teams RENAME TO teams;
-- case batch that loses a trigger and a column -> batch-copies-table, batch-drops-triggers, drop-column
CREATE TABLE orders_new (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id));
INSERT INTO orders_new SELECT id, user_id FROM orders;
DROP TABLE orders;
ALTER TABLE orders_new RENAME TO orders;
-- case batch that makes the trigger anew -> batch-copies-table
CREATE TABLE orders_new (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id), state TEXT);
INSERT INTO orders_new SELECT id, user_id, state FROM orders;
DROP TABLE orders;
ALTER TABLE orders_new RENAME TO orders;
CREATE TRIGGER orders_stamp AFTER INSERT ON orders BEGIN UPDATE teams SET name = 'x' WHERE id = 1; END;
-- case batch with a required column -> batch-copies-table, batch-drops-triggers, column-required
CREATE TABLE orders_new (id INTEGER PRIMARY KEY, user_id INTEGER, state TEXT, total INTEGER NOT NULL);
INSERT INTO orders_new SELECT id, user_id, state, 0 FROM orders;
DROP TABLE orders;
ALTER TABLE orders_new RENAME TO orders;
-- case batch of a tiny table -> safe
CREATE TABLE _alembic_tmp_tiny (id INTEGER PRIMARY KEY, note VARCHAR(10));
INSERT INTO _alembic_tmp_tiny SELECT id, note FROM tiny;
DROP TABLE tiny;
ALTER TABLE _alembic_tmp_tiny RENAME TO tiny;
-- case update of all -> unbounded-change
UPDATE users SET age = 1;
-- case update by key -> safe
UPDATE users SET age = 1 WHERE id = 7;
-- case vacuum in a transaction -> outside-transaction-only
VACUUM;
-- case new table -> safe
CREATE TABLE fresh (id INTEGER PRIMARY KEY, name TEXT);
CREATE INDEX fresh_name ON fresh (name);
ALTER TABLE fresh DROP COLUMN name;
DROP TABLE fresh;
-- case bracketed names -> drop-column
ALTER TABLE [orders] DROP COLUMN [state];
-- case words in strings -> safe
INSERT INTO tiny VALUES (1, 'DROP TABLE users');
-- case the second statement of a script in one string -> drop-table
-- with string=one
SELECT 1; DROP TABLE orders;
