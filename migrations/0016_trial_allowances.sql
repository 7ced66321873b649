-- One person's many accounts are not worth making: of the accounts that are opened from one network on one
-- day, only the first ones may try the storage network for nothing.

ALTER TABLE users ADD COLUMN has_trial boolean NOT NULL DEFAULT true;

-- How many were opened from where, by day (UTC); private and loopback addresses are not counted. Kept for
-- a day, so that nobody can tell later where an account was opened.
CREATE TABLE registrations (
    network  bytea   NOT NULL, -- prefix: IPv4 /24, IPv6 /48
    day      date    NOT NULL,
    accounts integer NOT NULL CHECK (accounts > 0),
    PRIMARY KEY (network, day)
);

CREATE INDEX registrations_by_day ON registrations (day);
