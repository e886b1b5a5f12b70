CREATE FEATURE VIEW route_load ENTITY route AS
SELECT origin, dest, count(*) OVER w AS n FROM departures
WINDOW w AS (PARTITION BY origin, dest ORDER BY departed_at RANGE UNBOUNDED PRECEDING);
CREATE FEATURE SERVICE s AS
SELECT l.n
FROM REQUEST (origin VARCHAR, dest VARCHAR) r
LEFT JOIN route_load l ON l.origin = r.origin;
