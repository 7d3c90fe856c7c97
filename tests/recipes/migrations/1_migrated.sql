CREATE TABLE migrated (id bigint)
