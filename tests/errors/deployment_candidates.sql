CREATE FEATURE SERVICE planes AS
SELECT i.item, p.departures_1d FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item) LEFT JOIN plane_recent p ON p.tailnum = i.item;
CREATE FEATURE SERVICE nameless AS
SELECT p.departures_1d FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item) LEFT JOIN plane_recent p ON p.tailnum = i.item;
CREATE FEATURE SERVICE listed AS
SELECT length(i.item) AS letters FROM REQUEST (planes VARCHAR[], delay DOUBLE) r CROSS JOIN UNNEST(r.planes) AS i(item);
CREATE FEATURE SERVICE plain AS
SELECT p.departures_1d FROM REQUEST (tailnum VARCHAR) r LEFT JOIN plane_recent p ON p.tailnum = r.tailnum;
CREATE MODEL late FROM 'late.onnx' USING planes (input => (departures_1d)) PREDICT (delay DOUBLE FROM score, parts DOUBLE[] FROM parts);
CREATE MODEL later FROM 'later.onnx' USING planes (input => (departures_1d)) PREDICT (delay DOUBLE FROM score, parts DOUBLE[] FROM parts);
CREATE MODEL unnamed FROM 'late.onnx' USING nameless (input => (departures_1d)) PREDICT (delay DOUBLE FROM score);
CREATE MODEL of_one FROM 'late.onnx' USING plain (input => (departures_1d)) PREDICT (delay DOUBLE FROM score, parts DOUBLE[] FROM parts);
CREATE MODEL of_many FROM 'late.onnx' USING listed (input => (letters)) PREDICT (last DOUBLE FROM score);
CREATE DEPLOYMENT misspelt AS late WITH (rank_by = 'dely ASC');
CREATE DEPLOYMENT sideways AS late WITH (rank_by = 'delay UP');
CREATE DEPLOYMENT by_list AS late WITH (rank_by = 'delay DESC, parts', top = 0);
CREATE DEPLOYMENT without AS of_one WITH (rank_by = 'delay', top = 3);
CREATE DEPLOYMENT nobody AS unnamed;
CREATE DEPLOYMENT other_rows AS late WITH (fallback = 'of_one');
CREATE DEPLOYMENT many_rows AS of_one WITH (fallback = 'late');
CREATE DEPLOYMENT shadowed AS late WITH (shadow = 'later');
CREATE DEPLOYMENT again AS (first => of_one, then => of_many);
CREATE DEPLOYMENT acting AS late WITH (actions = ['show', 'hide'], thresholds = [0.5]);
CREATE DEPLOYMENT ranked AS late WITH (rank_by = 'delay');
CREATE PREDICTIONS of_ranked ENTITY plane (delay DOUBLE) FROM ranked;
CREATE DEPLOYMENT tempered AS late WITH (rank_by = 'delay ASC', explore = 0.1, explore_by = 'softmax 1');
CREATE PREDICTIONS other_item ENTITY plane (tailnum2 VARCHAR, delay DOUBLE) FROM ranked WITH (item = 'tailnum2');
CREATE PREDICTIONS both_ways ENTITY plane (item VARCHAR, delay DOUBLE) FROM ranked WITH (item = 'item', best = 'least');
CREATE DEPLOYMENT trying AS late WITH (rank_by = 'delay', explore = 0.1);
CREATE PREDICTIONS tried ENTITY plane (item VARCHAR, delay DOUBLE) FROM trying WITH (item = 'item');
