-- A SQLite file as version 1 of the schema has it: its tables, its view, and its mark in the header. Kept for ever.
CREATE TABLE principal (
        account TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
        revision INTEGER NOT NULL, state TEXT NOT NULL, tag TEXT NOT NULL,
        PRIMARY KEY (account, kind, name));
CREATE TABLE event (
        account TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
        number INTEGER NOT NULL, document TEXT NOT NULL, tag TEXT NOT NULL,
        PRIMARY KEY (account, kind, name, number)) WITHOUT ROWID;
CREATE VIEW device AS SELECT account, kind, name,
        json_extract(state, '$.device.serial') AS serial,
        json_extract(state, '$.device.sync') AS sync,
        json_extract(state, '$.device.disabled') AS disabled,
        json_extract(state, '$.device.failures') AS failures,
        json_extract(state, '$.device.budget') AS budget,
        json_extract(state, '$.device.enrolled_at') AS enrolled_at
        FROM principal WHERE json_extract(state, '$.device') IS NOT NULL;
PRAGMA application_id = 1986881121;
PRAGMA user_version = 1;
