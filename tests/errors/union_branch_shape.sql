CREATE FEATURE VIEW v ENTITY airport AS
SELECT airport, count(*) OVER w AS movements
FROM (SELECT DISTINCT origin AS airport, departed_at AS at FROM departures GROUP BY 1 UNION ALL SELECT dest, max(arrived_at) FROM arrivals a JOIN models m ON m.tailnum = a.tailnum) u
WINDOW w AS (PARTITION BY airport ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
