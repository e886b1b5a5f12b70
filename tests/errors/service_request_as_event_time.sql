CREATE FEATURE SERVICE s AS
SELECT r.departed_at, departed_at - p.last_departed_at AS idle
FROM REQUEST AS departures r
LEFT JOIN plane_recent p ON p.tailnum = r.tailnum;
