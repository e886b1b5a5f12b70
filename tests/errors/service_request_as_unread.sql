CREATE SOURCE clicks (id BIGINT PRIMARY KEY, tailnum VARCHAR, v BIGINT, at TIMESTAMP) WITH (event_time = 'at', allowed_lateness = '1 hour', version = 'v');
CREATE FEATURE SERVICE s AS
SELECT p.last_departed_at
FROM REQUEST AS clicks r
LEFT JOIN plane_recent p ON p.tailnum = r.tailnum;
