CREATE FEATURE SERVICE planes AS
SELECT i.item, p.departures_1d FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item) LEFT JOIN plane_recent p ON p.tailnum = i.item;
CREATE FEATURE SERVICE by_item AS SELECT r.item AS n FROM REQUEST (item BIGINT) r;
CREATE MODEL late FROM 'late.onnx' USING planes (input => (departures_1d)) PREDICT (delay DOUBLE FROM score);
CREATE MODEL of_item FROM 'late.onnx' USING by_item (input => (n)) PREDICT (last DOUBLE FROM score);
CREATE DEPLOYMENT chained AS (first => late, then => of_item);
CREATE DEPLOYMENT ranked AS late WITH (rank_by = 'delay');
CREATE PREDICTIONS of_ranked ENTITY plane (item BIGINT, delay DOUBLE) FROM ranked WITH (item = 'item');
