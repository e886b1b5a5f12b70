CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport, max(m.seats) OVER w AS seats
FROM departures d LEFT JOIN models m ON m.tailnum = d.tailnum
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
